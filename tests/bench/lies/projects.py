"""The projects of the benchmark: real source distributions with their own tests, each a git repository of its own.

A project is unpacked into ``projects/NAME``; test files that do not pass everywhere, or that take long, are left
out, and one ``pytest.ini`` says where tests and source are, so that nothing needs to be installed but what the
tests import. Four projects are held out: the rules were never looked at with them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILDERS = (
    "setuptools", "setuptools-scm", "wheel", "hatchling", "hatch-vcs", "hatch-fancy-pypi-readme", "flit-core",
    "poetry-core", "calver",
)  # fmt: skip
ROOT = HERE.parents[2]
RUN_SECONDS = 60
SLOWEST_SECONDS = 1.2
NAMES = (
    "-c",
    "user.name=t",
    "-c",
    "user.email=t@example.org",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "gc.auto=0",
)


@dataclass(frozen=True)
class Project:
    """One project.

    Attributes:
        name: On the registry.
        releases: Pinned versions, oldest first; the last one is what lies are made of.
        tests: Its test folder or file.
        source: Its packages or modules.
        root: Folder that the source is imported from.
        needs: What the tests import.
        leave_out: Files of its tests that are slow or need a build.
        ini: Lines of pytest's configuration besides where tests and source are, or instead of that.
        files: More files that its tests need here.
        held_out: Not looked at while rules were written.
    """

    name: str
    releases: tuple[str, ...]
    tests: str = "tests"
    source: tuple[str, ...] = ()
    root: str = "."
    needs: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    ini: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    held_out: bool = False

    @property
    def version(self) -> str:
        return self.releases[-1]


PROJECTS = (
    Project("inflection", ("0.3.1", "0.4.0", "0.5.0", "0.5.1"), "test_inflection.py", ("inflection",)),
    Project("xmltodict", ("0.13.0", "0.14.2", "0.15.1", "1.0.2", "1.0.4"), source=("xmltodict.py",)),
    Project(
        "itsdangerous", ("2.0.1", "2.1.2", "2.2.0"), source=("src/itsdangerous",), root="src", needs=("freezegun",)
    ),
    Project("parse", ("1.19.1", "1.20.2", "1.22.4"), source=("parse",)),
    Project("more-itertools", ("10.2.0", "10.5.0", "10.8.0", "11.2.1"), source=("more_itertools",)),
    Project("idna", ("3.4", "3.6", "3.7", "3.10", "3.20"), source=("idna",)),
    Project("cachetools", ("5.3.3", "5.5.2", "6.0.0", "6.2.0", "8.0.1"), source=("src/cachetools",), root="src"),
    Project("click", ("8.1.7", "8.1.8", "8.2.1", "8.5.1"), source=("src/click",), root="src"),
    Project("tomlkit", ("0.12.5", "0.13.2", "0.13.3", "0.15.2"), source=("tomlkit",), needs=("pyyaml",)),
    Project(
        "python-dotenv", ("1.0.1", "1.1.0", "1.1.1", "1.2.4"), source=("src/dotenv",), root="src",
        needs=("click", "sh"),
    ),
    Project("humanize", ("4.9.0", "4.10.0", "4.12.3", "4.17.0"), source=("src/humanize",), root="src",
            needs=("freezegun",), held_out=True),
    Project("h11", ("0.14.0", "0.15.0", "0.16.0"), "h11", ("h11",), held_out=True),
    Project("tabulate", ("0.8.10", "0.9.0", "0.10.0"), "test", ("tabulate",), held_out=True, needs=("wcwidth",)),
    Project("markupsafe", ("2.1.5", "3.0.2", "3.0.4"), source=("src/markupsafe",), root="src", held_out=True),
    Project("boltons", ("24.0.0", "24.1.0", "25.0.0", "26.2.0"), source=("boltons",)),
    Project("wcwidth", ("0.2.12", "0.2.13", "0.2.14", "0.9.4"), source=("wcwidth",)),
)  # fmt: skip

# Never used before the rules were frozen; chosen only by whether they install and their tests pass.
FRESH = (
    Project("isodate", ("0.7.2",), source=("src/isodate",), root="src", held_out=True),
    Project("pathspec", ("0.12.1",), source=("pathspec",), held_out=True),
    Project("schema", ("0.7.7",), "test_schema.py", ("schema.py",), held_out=True),
    Project("semver", ("3.0.4",), source=("src/semver",), root="src", needs=("packaging",), held_out=True),
)

# The second set that was kept for the end, after the rules had been mended for the first one.
SECOND = (
    Project(
        "aioitertools", ("0.12.0", "0.13.0"), "aioitertools/tests", ("aioitertools",), held_out=True,
        ini=("python_files = builtins.py helpers.py itertools.py more_itertools.py",),
    ),
    Project(
        "asgiref", ("3.9.2", "3.11.1", "3.13.0"), source=("asgiref",), needs=("pytest-asyncio",), held_out=True,
        ini=("asyncio_mode = auto", "asyncio_default_fixture_loop_scope = function"),
        files=(("conftest.py", 'pytest_plugins = ("pytest_asyncio.plugin",)\n'),),
    ),
    Project("geojson", ("3.1.0", "3.2.0", "3.3.0"), source=("geojson",), held_out=True),
    Project("hyperframe", ("6.0.1", "6.1.0"), source=("src/hyperframe",), root="src", held_out=True),
    Project("sqlparse", ("0.5.1", "0.5.3", "0.5.5", "0.6.1"), source=("sqlparse",), held_out=True),
    Project("uritemplate", ("4.1.1", "4.2.0"), source=("uritemplate",), held_out=True),
    Project(
        "validators", ("0.33.0", "0.34.0", "0.35.0", "0.36.0"), source=("src/validators",), root="src", held_out=True
    ),
    Project(
        "voluptuous", ("0.15.2", "0.16.0"), "voluptuous/tests", ("voluptuous",), held_out=True,
        ini=(
            "testpaths = voluptuous/tests voluptuous/util.py",
            "python_files = tests.py", "addopts = --doctest-modules",
        ),
    ),
    Project("w3lib", ("2.2.1", "2.3.1", "2.5.0"), source=("w3lib",), needs=("hypothesis",), held_out=True),
)  # fmt: skip

# The third set that was kept for the end, after the rules had been mended for the second one.
THIRD = (
    Project(
        "blinker", ("1.7.0", "1.8.2", "1.9.0"), source=("src/blinker",), root="src", needs=("pytest-asyncio",),
        held_out=True, ini=("asyncio_mode = auto", "asyncio_default_fixture_loop_scope = function"),
        files=(("conftest.py", 'pytest_plugins = ("pytest_asyncio.plugin",)\n'),),
    ),
    Project(
        "docstring-parser", ("0.16", "0.17.0", "0.18.0"), "docstring_parser/tests", ("docstring_parser",), held_out=True
    ),
    Project("itemadapter", ("0.11.0", "0.12.2", "0.13.1"), source=("itemadapter",), held_out=True),
    Project("multipart", ("1.2.2", "1.3.1", "2.0.1"), "test", ("multipart.py",), held_out=True),
    Project(
        "ordered-set", ("4.0.2", "4.1.0"), "test", ("ordered_set",), held_out=True,
        ini=("testpaths = test ordered_set", "addopts = --doctest-modules"),
    ),
    Project("pyhumps", ("3.7.3", "3.8.0"), source=("humps",), held_out=True),
    Project("simpleeval", ("1.0.3", "1.0.6", "1.0.8"), source=("simpleeval.py",), held_out=True),
    Project("tinydb", ("4.8.2", "4.9.0"), source=("tinydb",), needs=("pyyaml",), held_out=True),
    Project(
        "wsproto", ("1.1.0", "1.2.0", "1.3.2"), source=("src/wsproto",), root="src", needs=("h11",), held_out=True
    ),
)  # fmt: skip


class Site:
    """The benchmark's folder: an environment, source distributions, prepared projects.

    Args:
        folder: Where everything is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.home = folder / "home"

    def prepare(self) -> None:
        """Makes the environment once."""
        self.home.mkdir(parents=True, exist_ok=True)
        done = self.folder / "venv" / "ready"
        if done.exists():
            return
        needs = sorted({need for project in (*PROJECTS, *FRESH, *SECOND, *THIRD) for need in project.needs})
        call(sys.executable, "-m", "venv", str(self.folder / "venv"))
        call(
            str(self.python), "-m", "pip", "install", "-q", "-U", "-e", str(ROOT), "pytest", *BUILDERS, *needs
        )
        done.write_text("")

    def environ(self, **more: str) -> dict[str, str]:
        """A clean environment for every run."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CI", "DRE_", "PYTEST_", "GITHUB_", "GIT_", "COV"))
        }
        return {
            **kept,
            "HOME": str(self.home),
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONHASHSEED": "0",
            **more,
        }

    def tree(self, project: Project, version: str) -> Path:
        """The unpacked files of one release, without a git history.

        Raises:
            subprocess.CalledProcessError: There is no registry, or none that has it.
        """
        target = self.folder / "trees" / f"{project.name}-{version}"
        if not target.exists():
            archive = self._fetch(project, version)
            folder = target.with_name(f"{target.name}.part")
            shutil.rmtree(folder, ignore_errors=True)
            with tarfile.open(archive) as opened:
                top = opened.getnames()[0].partition("/")[0]
                opened.extractall(folder, filter="data")
            self._reduce(folder / top, project)
            (folder / top).rename(target)
            shutil.rmtree(folder)
        return target

    def _fetch(self, project: Project, version: str) -> Path:
        archives = self.folder / "sdist"
        archives.mkdir(parents=True, exist_ok=True)
        pattern = f"{project.name.replace('-', '?')}-{version}.tar.gz"
        if not list(archives.glob(pattern)):
            call(
                str(self.python), "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:",
                "--no-build-isolation", "-d", str(archives), f"{project.name}=={version}", timeout=120,
            )  # fmt: skip
        return next(archives.glob(pattern))

    def _reduce(self, folder: Path, project: Project) -> None:
        """Leaves source, tests and papers; one configuration for pytest."""
        for name in ("docs", "examples", "bench", "benchmarks", ".github", "tox.ini", "setup.cfg"):
            place = folder / name
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        for name in project.leave_out:
            (folder / name).unlink(missing_ok=True)
        lines = {"testpaths": f"testpaths = {project.tests}", "pythonpath": f"pythonpath = {project.root}"}
        lines.update({line.partition(" ")[0]: line for line in project.ini})
        (folder / "pytest.ini").write_text("\n".join(["[pytest]", *lines.values(), ""]))
        for name, text in project.files:
            (folder / name).write_text(text)
        (folder / ".gitignore").write_text("__pycache__/\n*.pyc\n.pytest_cache/\n")

    def base(self, project: Project) -> Path:
        """A committed repository of the newest release in which every test file passes quickly."""
        target = self.folder / "projects" / project.name
        if (target / ".git").exists():
            return target
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.tree(project, project.version), target)
        for path in sorted(self._unfit(project, target)):
            (target / path).unlink(missing_ok=True)
        commit_all(target, "import", new=True)
        return target

    def _unfit(self, project: Project, target: Path) -> set[str]:
        """Test files with a test that fails, or that take too long alone; CPU time, since the machine may be busy."""
        place = target / project.tests
        files = [place] if place.is_file() else sorted(place.rglob("test*.py"))
        unfit = set()
        for file in files:
            name = str(file.relative_to(target))
            began = _children_seconds()
            code, outcomes = self.outcomes(target, name)
            bad = any(outcome in ("failed", "broken") for outcome, _ in outcomes.values())
            if code or bad or _children_seconds() - began > SLOWEST_SECONDS + 0.6:
                unfit.add(name)
        return unfit

    def outcomes(
        self, folder: Path, *words: str, seconds: float = RUN_SECONDS
    ) -> tuple[int, dict[str, tuple[str, str]]]:
        """Runs pytest and returns its exit status and each test's outcome with the kind of failure."""
        told = self.folder / f"outcomes-{os.getpid()}.json"
        told.unlink(missing_ok=True)
        command = [str(self.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "outcomes", *words]
        environ = self.environ(PYTHONPATH=str(HERE), LIES_OUTCOMES=str(told))
        try:
            done = subprocess.run(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, timeout=seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return -1, {}
        if not told.exists():
            return done.returncode, {}
        return done.returncode, {
            name: (pair[0], pair[1]) for name, pair in json.loads(told.read_text()).items()
        }


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def call(*command: str, cwd: Path | None = None, timeout: float = 600) -> None:
    """Runs a command that must succeed."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=timeout
    )
    if done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, [*command[:4], done.stdout.decode(errors="replace")[-400:]]
        )


def commit_all(folder: Path, message: str, *, new: bool = False) -> str:
    """Commits everything; the commit's id."""
    if new:
        call("git", "init", "-q", cwd=folder)
    call("git", *NAMES, "add", "-A", "-f", ".", cwd=folder)
    call("git", *NAMES, "commit", "-q", "--allow-empty", "-m", message, cwd=folder)
    return subprocess.run(
        ("git", "rev-parse", "HEAD"), cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
