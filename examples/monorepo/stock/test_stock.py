def test_stock():
    assert sorted("stock") == list("ckost")
