from pricing import discounted


def test_discount():
    assert discounted(1999, 10) == 1799
