"""What two versions of a project's configuration say about pytest and coverage, and about lines left out.

Only keys that decide which tests run, or how much must be covered; all else in these files is none of our concern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dre_core.capture.inifile import sections
from dre_core.model.changes import Change, ChangeKind

CONFIG_FILES = (
    "pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", ".coveragerc",
)  # fmt: skip
_SELECTING = (
    "addopts", "testpaths", "python_files", "python_classes", "python_functions", "norecursedirs",
    "collect_imported_tests", "xfail_strict", "usefixtures",
)  # fmt: skip
# Files that say how tests are run, and words in them by which a failure goes unnoticed.
_SCRIPTS = re.compile(
    r"^\.github/(?:workflows|actions)/.+\.ya?ml$|^action\.ya?ml$|^\.gitlab-ci\.yml$|^\.circleci/config\.yml$|"
    r"^azure-pipelines\.yml$|^\.travis\.yml$|^bitbucket-pipelines\.yml$|(?:^|/)(?:GNUm|M|m)akefile$|(?:^|/)package\.json$|"
    r"^tox\.(?:ini|toml)$|^noxfile\.py$|^[Jj]ustfile$|\.(?:sh|bash|mk)$"
)
_TESTING = re.compile(r"test|check|jest|mocha|verify|cargo|gradle|mvn|tox|nox", re.I)
_SWALLOWING = re.compile(
    r"\|\|\s*(?:true|:|exit 0|echo\b)|;\s*(?:exit 0|true)\s*[\"']?,?$|continue-on-error:\s*true|allow_failure:\s*true|"
    r"continueOnError:\s*true|\bset \+e\b|--passWithNoTests|--pass-with-no-tests|"
    r"ignore_(?:outcome|errors)\s*=\s*true|"
    r"-D(?:skipTests|maven\.test\.(?:skip|failure\.ignore))\b(?!=false)|--fail-never\b|\bmvnw? (?:.* )?-fn\b|"
    r"gradlew? .*-x\s*:?[\w:]*test\b",
    re.I,
)
_LEAVING_OUT = ("omit", "exclude_lines", "exclude_also", "exclude", "partial_branches")
_PRAGMA = re.compile(r"#\s*pragma:\s*no\s?cover", re.I)
# Lines that are left out of coverage everywhere, for no test can reach them on every platform.
_USUAL = re.compile(
    r"TYPE_CHECKING|__name__|except (?:ImportError|ModuleNotFoundError)|NotImplementedError|@overload|"
    r"@(?:abc\.)?abstractmethod|sys\.platform|sys\.version|os\.name|assert_never|\.\.\.\s*#"
)


def compare_config(path: str, before: str | None, after: str | None) -> Iterator[Change]:
    """What changed for pytest and coverage in one configuration file.

    Args:
        path: The file.
        before: Its text at the base; None where it is absent.
        after: Its text now.
    """
    old, new = sections(path, before), sections(path, after)
    for key in _SELECTING:
        was, now = old["pytest"].get(key), new["pytest"].get(key)
        if was != now:
            detail = f"{_shown(was)} → {_shown(now)}"
            yield Change(kind=ChangeKind.RUNNER_CONFIG, path=path, name=key, detail=detail)
    yield from _compare_coverage(path, old["coverage"], new["coverage"])


def _compare_coverage(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    was, now = _number(old.get("fail_under")), _number(new.get("fail_under"))
    if now < was:
        yield Change(
            kind=ChangeKind.COVERAGE_CONFIG, path=path, name="fail_under", detail=f"{was:g} → {now:g}"
        )
    for key in _LEAVING_OUT:
        added = sorted(_entries(new.get(key)) - _entries(old.get(key)))
        # A first coverage configuration leaves nothing out that was measured before.
        if added and old:
            detail = f"added {', '.join(added)[:100]}"
            yield Change(kind=ChangeKind.COVERAGE_CONFIG, path=path, name=key, detail=detail)
    if _truth(old.get("branch")) and not _truth(new.get("branch")):
        yield Change(kind=ChangeKind.COVERAGE_CONFIG, path=path, name="branch", detail="turned off")


def is_script(path: str) -> bool:
    """Whether a file may say how tests are run: a CI's, a build tool's or a shell's."""
    return _SCRIPTS.search(path) is not None


def compare_script(path: str, before: str | None, after: str | None) -> Iterator[Change]:
    """Lines of such a file by which a test's failure may newly go unnoticed.

    A line counts where it speaks of tests itself, or is a setting of CI that has no other line to speak of them.
    """
    known = {line.strip() for line in (before or "").splitlines()}
    for number, line in enumerate((after or "").splitlines(), 1):
        text = line.strip()
        found = _SWALLOWING.search(text)
        if found is None or text in known or text.startswith(("#", "//")):
            continue
        setting = ":" in found[0] and "|" not in found[0] and path.endswith((".yml", ".yaml"))
        if setting or _TESTING.search(text):
            yield Change(
                kind=ChangeKind.RUNNER_CONFIG,
                path=path,
                name=found[0].strip()[:40],
                line=number,
                detail=text[:100],
            )


def compare_pragmas(path: str, before: str | None, after: str | None) -> Iterator[Change]:
    """Lines of a product file that are newly left out of coverage."""
    if before is None or after is None:
        return
    known = {line.strip() for line in before.splitlines()}
    for number, line in enumerate(after.splitlines(), 1):
        if _PRAGMA.search(line) and line.strip() not in known and not _USUAL.search(line):
            detail = line.strip()[:100]
            yield Change(
                kind=ChangeKind.COVERAGE_CONFIG,
                path=path,
                name="pragma: no cover",
                line=number,
                detail=detail,
            )


def _shown(value: Any) -> str:
    text = (
        " ".join(map(str, value)) if isinstance(value, list) else str(value) if value is not None else "unset"
    )
    return text.strip().replace("\n", " ")[:80]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _entries(value: Any) -> set[str]:
    items = value if isinstance(value, list) else str(value or "").replace(",", "\n").splitlines()
    return {str(item).strip() for item in items if str(item).strip()}


def _truth(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "1", "yes", "on")
