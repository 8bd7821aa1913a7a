def test_cart():
    assert sorted("cart") == list("acrt")
