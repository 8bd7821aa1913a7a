"""The pytest face of DRE: ``pytest --dre``."""
