import pytest
from pricing import discounted


@pytest.mark.parametrize(("percent", "cents"), [(0, 1999), (10, 1799), (100, 0)])
def test_discount(percent, cents):
    assert discounted(1999, percent) == cents


def test_a_discount_above_100_percent_is_refused():
    with pytest.raises(ValueError, match="101 % is no discount"):
        discounted(1999, 101)
