"""The tox 4 plugin: with ``dre = true`` in an environment, or ``tox --dre``, each of its commands is an operation.

The commands run as ``dre wrap --name ENVIRONMENT -- COMMAND``, by the DRE that is installed beside tox; what comes
before and after them (``commands_pre``, ``commands_post``) does not. To record inside as well, the environment's own
``deps`` name DRE and its command says ``pytest --dre``. Without either, the plugin does nothing.

Source: https://tox.wiki/en/latest/plugins.html
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from tox.plugin import impl

if TYPE_CHECKING:
    from tox.config.cli.parser import ToxParser
    from tox.config.sets import EnvConfigSet
    from tox.execute.api import Outcome
    from tox.session.state import State
    from tox.tox_env.api import ToxEnv

_log = logging.getLogger(__name__)
# What DRE itself reads; the command gets it too, less the keys, which the wrapper takes out.
_PASSED = ("DRE_*", "HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "CI")


@impl
def tox_add_option(parser: ToxParser) -> None:
    """Adds ``--dre``."""
    parser.add_argument("--dre", action="store_true", help="seal evidence of every command (DRE)")


@impl
def tox_add_env_config(env_conf: EnvConfigSet, state: State) -> None:
    """Adds the key ``dre`` to every environment."""
    env_conf.add_config(
        "dre", of_type=bool, default=False, desc="seal evidence of this environment's commands"
    )


@impl
def tox_before_run_commands(tox_env: ToxEnv) -> None:
    """Puts the wrapper before each command."""
    if not _is_on(tox_env):
        return
    from dre_core.capture.environment import ci_variables

    tox_env.conf["allowlist_externals"].append(sys.executable)
    tox_env.conf["pass_env"].extend([*_PASSED, *ci_variables()])
    before = [sys.executable, "-m", "dre_ci.cli", "wrap", "--name", tox_env.name, "--"]
    for command in tox_env.conf["commands"]:
        command.args = [*before, *command.args]


@impl
def tox_after_run_commands(tox_env: ToxEnv, exit_code: int, outcomes: list[Outcome]) -> None:
    """Says what the evidence of the commands comes to; the exit code stays tox's own."""
    if not _is_on(tox_env):
        return
    from dre_ci.job.recent import lines_of

    root = tox_env.conf["change_dir"]
    count = sum("dre_ci.cli" in outcome.request.cmd for outcome in outcomes)
    for line in lines_of(root, tox_env.name, count):
        _log.warning("%s: %s", tox_env.name, line)


def _is_on(tox_env: ToxEnv) -> bool:
    options: Any = tox_env.options
    return bool(getattr(options, "dre", False) or tox_env.conf["dre"])
