"""Collectors: what DRE sees of a run, each fact with the vantage it was seen from."""
