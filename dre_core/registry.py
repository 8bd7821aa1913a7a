"""Which parts exist: built-ins by module name, strangers by entry point, all through the same hooks.

Built-ins are loaded by name, so that no layer imports upward and a part whose dependency is missing takes only
itself away. Third-party plugins run inside DRE and could forge anything, so they load only where the user's or
the base branch's configuration names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dre_core.errors import ConfigError

if TYPE_CHECKING:
    import pluggy

# Files first: what the command wrote is taken before anything else looks, so that little time is left to change it.
COLLECTORS = (
    "dre_core.capture.files",
    "dre_core.capture.source",
    "dre_core.capture.changes",
    "dre_core.capture.environment",
)
# Those that only look when a trigger fires; loaded where one is configured.
LIVE_COLLECTORS = (
    "dre_core.capture.processes",
    "dre_core.capture.screenshot",
)
VERIFIERS = (
    "dre_core.verify.programmatic",
    "dre_core.verify.structural",
    "dre_core.verify.behavioral",
    "dre_core.verify.visual",
)
RENDERERS = (
    "dre_core.report.cyclonedx",
    "dre_core.report.html",
    "dre_core.report.json",
    "dre_core.report.markdown",
    "dre_core.report.pdf",
    "dre_core.report.sarif",
    "dre_core.report.verification",
)


def load(modules: Iterable[str], plugins: Iterable[str] = ()) -> pluggy.PluginManager:
    """A plugin manager with the given built-ins and third-party plugins.

    Args:
        modules: Module names of built-ins.
        plugins: Entry point names of third-party plugins to load.

    Raises:
        ConfigError: A plugin is named but not installed, or does not fit the specifications.
    """
    import pluggy

    from dre_core import hooks

    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    for name in modules:
        manager.register(import_module(name), name)
    for name in plugins:
        _load_entry_point(manager, name)
    return manager


def _load_entry_point(manager: pluggy.PluginManager, name: str) -> None:
    import pluggy

    from dre_core import hooks

    try:
        found = manager.load_setuptools_entrypoints(hooks.ENTRY_POINT_GROUP, name)
    except (pluggy.PluginValidationError, ImportError) as error:
        raise ConfigError(f"plugin {name} can't be loaded: {error}", path="plugins") from None
    if not found:
        raise ConfigError(
            f"there is no plugin {name}",
            hint=f"install a package with an entry point {name!r} in the group {hooks.ENTRY_POINT_GROUP!r}",
            path="plugins",
        )


def flatten(lists: Iterable[Iterable[Any]]) -> list[Any]:
    """One list of what several implementations returned, in the order of registration."""
    # pluggy calls the last registered implementation first.
    return [item for part in reversed(list(lists)) for item in part]


def by_name(parts: Iterable[Any]) -> Mapping[str, Any]:
    """Parts by their ``name``; a later one of the same name wins."""
    return {part.name: part for part in parts}
