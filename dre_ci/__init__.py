"""The command line and CI faces of DRE: ``dre``."""
