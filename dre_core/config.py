"""Configuration: defaults, the user's file, project file, ``.dre/config.yaml``, environment, options; the later wins.

The project file is ``dre.yaml`` at the root, or ``[tool.dre]`` in ``pyproject.toml``. A variable
``DRE_<SECTION>__<KEY>`` sets one key. Unknown keys are refused by name with the nearest known one, and values
are never coerced beyond what a variable's text needs.

Third-party plugins run inside DRE, so only the user's own file (``~/.config/dre/config.yaml``) may name them, and only
it or a variable may say where evidence is sent (``storage``): the change under test can write every file of the
project, ``.dre`` included. The ``verify`` section is a policy. It is
read only from ``--policy`` or ``DRE_POLICY``, because the change under test must not choose its own judge; found in
the project's files it is ignored, and :attr:`Config.warnings` says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from dre_core.errors import ConfigError, FormatError, StorageError
from dre_core.model.record import dataclass
from dre_core.store.folder import open_regular

if TYPE_CHECKING:
    from dre_core.model.trigger import Trigger

_FILE_LIMIT_BYTES = 1 << 20
# Variables of the contract that share the prefix but name no section and key.
_ENVIRONMENT_PREFIX = "DRE_"
_LOCAL = ".dre/config.yaml"
_USER = "~/.config/dre/config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSection:
    """What is kept, and for how long.

    Attributes:
        retention: Age such as ``30d`` after which ``prune`` deletes payloads.
        compress: Whether payloads are compressed.
        encrypt: Whether payloads are encrypted, with the passphrase in ``DRE_PASSPHRASE``.
        recipients: age recipients for whom payloads are encrypted, whatever ``encrypt`` says.
    """

    retention: str = "30d"
    compress: bool = True
    encrypt: bool = False
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSection:
    """Where evidence goes besides ``.dre``: see ``tiers.py``.

    Attributes:
        backup: Store that ``dre evidence sync`` copies every operation to; empty: none.
        cold: Store that it moves large and old payloads to; empty: none.
        endpoint: Address of an S3 server; empty for Amazon's.
        cold_above_mb: Payloads above this many megabytes are moved.
        cold_after: Age such as ``30d`` after which payloads are moved.
    """

    backup: str = ""
    cold: str = ""
    endpoint: str = ""
    cold_above_mb: float = 10.0
    cold_after: str = "30d"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSection:
    """What is collected beyond the built-in evidence.

    Attributes:
        junit: Globs of JUnit reports that the command writes.
        coverage: Paths of coverage data that the command writes.
        artifact: Globs of files that the command makes; digests only.
        screenshot: Globs of pictures that the command makes.
        environment: Names of further environment variables to record (values masked).
        tools: Programs whose version is asked for, by ``NAME --version``, after the run.
        dependencies: Whether the packages that the command could import are listed.
        sample_interval_ms: Shortest interval of the process monitor.
        trace: Whether the kernel tells of each process (ptrace, Linux); a debugger inside can't attach then.
    """

    junit: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    artifact: tuple[str, ...] = ()
    screenshot: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    dependencies: bool = True
    sample_interval_ms: int = 10
    trace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSection:
    """How the command is run.

    Attributes:
        timeout_seconds: Time after which the command is ended; 0 for none.
    """

    timeout_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySection:
    """How tests are run again in clean clones.

    Attributes:
        budget_seconds: Time that each cell gets.
        total_seconds: Time that all cells get together.
        probe_functions: How many changed functions are probed for tests that would not miss them; 0 for none.
    """

    budget_seconds: float = 600.0
    total_seconds: float = 3600.0
    probe_functions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSection:
    """What of a pull request or commit counts as a declaration; see ``dre_core/announced.py``.

    Attributes:
        labels: ``LABEL=KIND``.
        patterns: ``REGEX=KIND``, for titles, texts and commit messages.
        changes: ``REGEX`` with one group: the tests that are meant to change.
    """

    labels: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSection:
    """How evidence is signed.

    Attributes:
        type: Kind of a new signing key: ``ed25519``, ``rsa-4096`` or ``ecdsa-p256``.
        ephemeral: Keep no private key on disk; each process makes its own.
    """

    type: str = "ed25519"
    ephemeral: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSection:
    """What is masked beyond the built-in rules.

    Attributes:
        variables: Names of further environment variables whose values are secret.
        rules: File with further rules, in the format of gitleaks; a relative path begins at the top of the tree.
    """

    variables: tuple[str, ...] = ()
    rules: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualSection:
    """Which pictures are taken; they need the extra ``visual``.

    Attributes:
        screen: Whether the last screen of the terminal is drawn after each run.
        url: Page that the ``screenshot`` collector shows in a browser.
        display: X display that it reads.
        browser: Path of the browser; empty: found on ``PATH``, else playwright's own.
        width: Of the browser's window, in pixels.
        height: Of the browser's window, in pixels.
        baselines: Folder, from the top of the tree, with the pictures that a run should make again.
        masks: ``NAME:WIDTHxHEIGHT+X+Y``: what of a picture may differ from its baseline.
    """

    screen: bool = False
    url: str = ""
    display: str = ""
    browser: str = ""
    width: int = 1280
    height: int = 800
    baselines: str = ""
    masks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellSection:
    """What ``dre shell-init`` offers.

    Attributes:
        commands: Names of the commands that interactive shells run under ``dre wrap``.
    """

    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration of one project.

    Attributes:
        evidence: What is kept.
        storage: Where it goes besides.
        capture: What is collected.
        run: How commands run.
        replay: How tests are run again.
        claim: What counts as a declaration.
        keys: How evidence is signed.
        mask: What is masked.
        visual: Which pictures are taken.
        shell: What ``dre shell-init`` offers.
        plugins: Third-party plugins to load, by entry point name.
        triggers: What is collected while a command runs, and when.
        sources: Files and variables that were read.
        warnings: What was ignored, and why.
    """

    evidence: EvidenceSection = EvidenceSection()
    storage: StorageSection = StorageSection()
    capture: CaptureSection = CaptureSection()
    run: RunSection = RunSection()
    replay: ReplaySection = ReplaySection()
    claim: ClaimSection = ClaimSection()
    keys: KeysSection = KeysSection()
    mask: MaskSection = MaskSection()
    visual: VisualSection = VisualSection()
    shell: ShellSection = ShellSection()
    plugins: tuple[str, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def get(self, key: str) -> object:
        """Value of a dotted key such as ``evidence.retention``.

        Raises:
            ConfigError: There is no such key.
        """
        return flatten(self)[_known(key)]


_SECTIONS: Mapping[str, type] = {
    "evidence": EvidenceSection,
    "storage": StorageSection,
    "capture": CaptureSection,
    "run": RunSection,
    "replay": ReplaySection,
    "claim": ClaimSection,
    "keys": KeysSection,
    "mask": MaskSection,
    "visual": VisualSection,
    "shell": ShellSection,
}


def flatten(config: Config) -> dict[str, object]:
    """Every key in dotted form with its value, in order."""
    flat: dict[str, object] = {}
    for section in _SECTIONS:
        record = getattr(config, section)
        for item in fields(record):
            flat[f"{section}.{item.name}"] = getattr(record, item.name)
    flat["plugins"] = config.plugins
    flat["triggers"] = {trigger.name: trigger.to_json() for trigger in config.triggers}
    return flat


def nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def _known(key: str) -> str:
    known = list(flatten(Config()))
    if key not in known:
        raise ConfigError(f"unknown configuration key {key!r}", hint=nearest(key, known), path=key)
    return key


def check_value(key: str, value: object, wanted: Any) -> object:
    """The value if it fits the key's type; lists become tuples, nothing else changes."""
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is int and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if wanted is str and isinstance(value, str):
        return value
    if wanted == tuple[str, ...]:
        if isinstance(value, str):
            return (value,)
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
    names = {
        bool: "true or false",
        int: "a whole number of 0 or more",
        float: "a number of 0 or more",
        str: "text",
    }
    raise ConfigError(
        f"{key} must be {names.get(wanted, 'a list of texts')}, not {value!r}", path=key, code="config-value"
    )


def _type_of(key: str) -> Any:
    if "." not in key:
        return tuple[str, ...]
    section, name = key.split(".", 1)
    return get_type_hints(_SECTIONS[section])[name]


def with_values(config: Config, values: Mapping[str, object]) -> Config:
    """The configuration with dotted keys set.

    Raises:
        ConfigError: A key is unknown or a value does not fit.
    """
    for key, value in values.items():
        if key == "triggers":
            config = _with_triggers(config, value)
            continue
        checked = check_value(_known(key), value, _type_of(key))
        if "." in key:
            section, name = key.split(".", 1)
            changed: dict[str, Any] = {section: replace(getattr(config, section), **{name: checked})}
        else:
            changed = {key: checked}
        config = replace(config, **changed)
    return config


def _with_triggers(config: Config, value: object) -> Config:
    """The configuration with more triggers; one of the same name takes the other's place."""
    from dre_core.model.trigger import parse_triggers

    try:
        added = parse_triggers(value)  # type: ignore[arg-type]
    except FormatError as error:
        raise ConfigError(
            f"{error.path}: {error.message}", hint=error.hint, path=error.path, code="config-value"
        ) from None
    by_name = {trigger.name: trigger for trigger in (*config.triggers, *added)}
    return replace(config, triggers=tuple(by_name.values()))


def _dotted(document: object, source: str) -> dict[str, object]:
    """A nested document as dotted keys; the ``verify`` section is left to the caller."""
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError("the configuration must be a mapping of sections", path=source)
    flat: dict[str, object] = {}
    for section, content in document.items():
        if section in _SECTIONS and isinstance(content, dict):
            flat.update({f"{section}.{name}": value for name, value in content.items()})
        elif section in _SECTIONS:
            raise ConfigError(f"section {section} must be a mapping", path=source)
        else:
            flat[str(section)] = content
    return flat


def parse_yaml(text: str, source: str) -> object:
    """One YAML document by the safe loader, of at most 1 MiB.

    Raises:
        ConfigError: It is too large or not YAML.
    """
    import yaml

    if len(text) > _FILE_LIMIT_BYTES:
        raise ConfigError("the file is larger than 1 MiB", path=source)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise ConfigError(f"not readable as YAML: {reason}", path=source) from None


def _parse_toml(text: str, source: str) -> object:
    if "dre" not in text:  # most projects' files need no parsing at all
        return None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(text).get("tool", {}).get("dre")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not readable as TOML: {error}", path=source) from None


def read_text(path: Path) -> str | None:
    """A configuration file's text, or None where there is none.

    Raises:
        ConfigError: It can't be read, is not UTF-8, or is larger than 1 MiB.
    """
    if not path.exists():
        return None
    try:
        with open_regular(path.resolve()) as stream:
            data = stream.read(_FILE_LIMIT_BYTES + 1)
    except (OSError, StorageError) as error:
        raise ConfigError(f"can't be read: {getattr(error, 'message', error)}", path=str(path)) from None
    if len(data) > _FILE_LIMIT_BYTES:
        raise ConfigError("the file is larger than 1 MiB", path=str(path))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError("the file is not UTF-8", path=str(path)) from None


def project_document(read: Mapping[str, str | None]) -> tuple[object, str]:
    """The project's configuration from the texts of its files.

    Args:
        read: Text by file name, for ``dre.yaml`` and ``pyproject.toml``; None where absent.

    Returns:
        The document (None without one) and the name of the file it came from.
    """
    text = read.get("dre.yaml")
    if text is not None:
        return parse_yaml(text, "dre.yaml"), "dre.yaml"
    text = read.get("pyproject.toml")
    document = _parse_toml(text, "pyproject.toml") if text is not None else None
    return document, "pyproject.toml"


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """Dotted keys set by ``DRE_<SECTION>__<KEY>`` variables."""
    values: dict[str, object] = {}
    for name, text in environ.items():
        if not name.startswith(_ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        section, _, key = name[len(_ENVIRONMENT_PREFIX) :].lower().partition("__")
        dotted = f"{section}.{key}"
        try:
            values[dotted] = parse_value(_known(dotted), text)
        except ConfigError as error:
            raise ConfigError(error.message, hint=error.hint, path=name) from None
    return values


def parse_value(key: str, text: str) -> object:
    """The value that a text on a command line or in a variable stands for.

    Raises:
        ConfigError: The text does not fit the key's type.
    """
    wanted = _type_of(_known(key))
    if key == "triggers":
        raise ConfigError("triggers are written in a file", hint="see docs/triggers.md", path=key)
    if wanted is bool and text.lower() in ("true", "false", "1", "0", "yes", "no"):
        return text.lower() in ("true", "1", "yes")
    if wanted in (int, float):
        try:
            return wanted(text)
        except ValueError:
            return check_value(key, text, wanted)
    if wanted == tuple[str, ...]:
        return tuple(part for part in text.replace(",", "\n").splitlines() if part.strip())
    return check_value(key, text, wanted)


def load(root: Path, dre_dir: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of the project at ``root``.

    Args:
        root: The project's root folder.
        dre_dir: Its ``.dre`` folder.
        environ: Environment variables.

    Returns:
        The merged configuration.

    Raises:
        ConfigError: A file or variable has an unknown key or an unfit value.
    """
    config = Config()
    documents = [
        _user_document(environ),
        project_document({name: read_text(root / name) for name in ("dre.yaml", "pyproject.toml")}),
        _local_document(dre_dir),
    ]
    for document, source in documents:
        if document is None:
            continue
        values = _dotted(document, source)
        if values.pop("verify", None) is not None:
            warning = f"policy-from-workload: the verify section of {source} is ignored; use --policy"
            config = replace(config, warnings=(*config.warnings, warning))
        if source != _USER and values.pop("plugins", None) is not None:
            warning = f"plugins-from-workload: the plugins of {source} are ignored; name them in {_USER}"
            config = replace(config, warnings=(*config.warnings, warning))
        elsewhere = [key for key in values if key.startswith("storage.")]
        if source != _USER and elsewhere:
            values = {key: value for key, value in values.items() if key not in elsewhere}
            warning = (
                f"storage-from-workload: {', '.join(elsewhere)} of {source} is ignored; set it in {_USER}"
            )
            config = replace(config, warnings=(*config.warnings, warning))
        try:
            config = with_values(config, values)
        except ConfigError as error:
            raise ConfigError(error.message, hint=error.hint, path=source, code=error.slug) from None
        config = replace(config, sources=(*config.sources, source))
    return with_values(config, _from_environment(environ))


def _user_document(environ: Mapping[str, str]) -> tuple[object, str]:
    base = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~/.config"))
    text = read_text(folder / "dre" / "config.yaml")
    return (parse_yaml(text, _USER) if text is not None else None), _USER


def _local_document(dre_dir: Path) -> tuple[object, str]:
    text = read_text(dre_dir / "config.yaml")
    return (parse_yaml(text, _LOCAL) if text is not None else None), _LOCAL
