"""DRE in build tools: tox, nox, hatchling, setuptools and pre-commit; each is loaded by its tool alone."""
