"""A very small shop: the code under test of the quick start."""


def discounted(price_cents: int, percent: int) -> int:
    """Price after a discount, in whole cents, rounded down.

    Raises:
        ValueError: The discount is not between 0 and 100.
    """
    if not 0 <= percent <= 100:
        raise ValueError(f"{percent} % is no discount")
    return price_cents * (100 - percent) // 100
