"""The hatchling build hook ``dre``: seals each wheel and sdist that is built, and builds it twice to compare.

    [build-system]
    requires = ["hatchling", "development-reality-engine"]

    [tool.hatch.build.hooks.dre]
    reproducible = true        # optional: a build that does not repeat fails

Source: https://hatch.pypa.io/latest/plugins/build-hook/reference/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.plugin import hookimpl

from dre_ci.hooks.built import is_rebuilding, seal


class DREBuildHook(BuildHookInterface):
    """Seals what was built."""

    PLUGIN_NAME = "dre"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before the build: evidence is no part of what is built.

        Hatchling reads no ``.gitignore`` but the topmost, so it would pack ``.dre`` into every sdist.
        """
        target, common = self.build_config.target_config, self.build_config.build_config
        usual = common.get("exclude", self.build_config.default_exclude())
        target["exclude"] = [*target.get("exclude", usual), "/.dre"]

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling with the finished file."""
        path = Path(artifact_path)
        if is_rebuilding() or version == "editable" or not path.is_file():
            return
        built = seal(path, "hatchling.build", Path(self.root))
        self.app.display_info(f"dre: {built.said}")
        if self.config.get("reproducible") and built.reproducible is not True:
            self.app.abort(f"dre: {path.name} does not repeat")


@hookimpl
def hatch_register_build_hook() -> type[DREBuildHook]:
    """Registers the hook."""
    return DREBuildHook
