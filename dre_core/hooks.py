"""Hook specifications: every extension point of DRE, for its own parts and for strangers alike.

A plugin is a module or object with functions marked :data:`hookimpl`; third parties register one under the
entry point group ``dre`` and are loaded only where the configuration names them. A specification may be
implemented with fewer arguments than it offers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from dre_core.capture.collector import Collector
    from dre_core.config import Config
    from dre_core.model.event import Event
    from dre_core.pipeline.stage import Stage
    from dre_core.report.renderer import Renderer
    from dre_core.verify.verifier import Verifier

PROJECT = "dre"
ENTRY_POINT_GROUP = "dre"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def dre_collectors(config: Config) -> Sequence[Collector]:  # type: ignore[empty-body]
    """Collectors that look before and after each run."""


@hookspec
def dre_verifiers(config: Config) -> Sequence[Verifier]:  # type: ignore[empty-body]
    """Verification methods, by name."""


@hookspec
def dre_stages(config: Config) -> Sequence[Stage]:  # type: ignore[empty-body]
    """Stages that output passes after masking, before it is recorded."""


@hookspec
def dre_renderers() -> Sequence[Renderer]:  # type: ignore[empty-body]
    """Renderers of the report tree, by format name."""


@hookspec
def dre_schemes() -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Factories by URI scheme, such as ``s3`` for a store or ``env`` for a signer."""


@hookspec
def dre_event(event: Event) -> None:
    """Sees each event after it was committed to the log; it can't veto."""


@hookspec
def dre_commands(subparsers: Any) -> Sequence[ArgumentParser]:  # type: ignore[empty-body]
    """Further commands of ``dre``."""
