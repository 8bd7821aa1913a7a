"""The JSON Schemas of what DRE writes as JSON, as they are published: draft 2020-12, in this package's files.

A schema lists every member and its type. New members may come; none goes without a new version in the name.

Source: https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

from importlib.resources import files

SCHEMAS = ("dre-verdict-v1", "dre-difference-v1")


def schema_text(name: str) -> str:
    """A schema as it is published.

    Args:
        name: One of :data:`SCHEMAS`.
    """
    return files("dre_core.report").joinpath("schemas", f"{name}.schema.json").read_text(encoding="utf-8")
