def discounted(price_cents: int, percent: int) -> int:
    """Price after a discount, in whole cents, rounded down."""
    return price_cents * (100 - percent) // 100
