"""The house rules that a machine can check: layers, cycles, and who may print or exit."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dre_core", "dre_pytest", "dre_ci")

# Lower first; a module imports from its own layer and from those below.
LAYERS = (
    ("dre_core", "dre_core.errors", "dre_core.garbage", "dre_core.hooks"),
    ("dre_core.model",),
    ("dre_core.crypto",),
    ("dre_core.pipeline",),
    ("dre_core.store",),
    # Configuration and policy are data with a reader of their own; the collectors are handed the configuration.
    ("dre_core.config", "dre_core.masking", "dre_core.policy_file", "dre_core.capture"),
    ("dre_core.verify",),
    ("dre_core.report",),
    # The engine and the modules it is cut into.
    (
        "dre_core.registry",
        "dre_core.intake",
        "dre_core.trust",
        "dre_core.announced",
        "dre_core.declaring",
        "dre_core.pictured",
        "dre_core.operation",
        "dre_core.screening",
        "dre_core.output",
        "dre_core.live",
        "dre_core.pulse",
        "dre_core.engine",
        "dre_core.sealing",
        "dre_core.wrapping",
        "dre_core.recovery",
        "dre_core.removal",
        "dre_core.history",
        "dre_core.verification",
        "dre_core.reporting",
        "dre_core.documenting",
        "dre_core.replaying",
        "dre_core.exchange",
        "dre_core.importing",
        "dre_core.tiers",
        "dre_core.encryption",
        "dre_core.foreign",
        "dre_core.countersigning",
        "dre_core.testing",
    ),
    ("dre_pytest", "dre_ci"),
)


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def layer_of(module: str) -> int:
    names = [
        (len(name), rank) for rank, layer in enumerate(LAYERS) for name in layer if is_within(module, name)
    ]
    return max(names)[1]


def is_within(module: str, name: str) -> bool:
    # The bare package stands for its __init__ alone; everything below it has a layer of its own.
    return module == name or (name != "dre_core" and module.startswith(name + "."))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def statements(body: list[ast.stmt], *, functions: bool) -> Iterator[ast.stmt]:
    for node in body:
        if is_type_checking(node):
            continue
        yield node
        if not functions and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for name in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, name, []), functions=functions)
        for handler in getattr(node, "handlers", []):
            yield from statements(handler.body, functions=functions)


def imports(module: str, *, functions: bool) -> set[str]:
    """Modules of this project that a module imports, at load time or (also) in functions."""
    tree = ast.parse(MODULES[module].read_text())
    found: set[str] = set()
    for node in statements(tree.body, functions=functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_the_layers(module):
    rank = layer_of(module)
    upward = {name for name in imports(module, functions=True) if layer_of(name) > rank}
    assert not upward


def test_every_module_has_exactly_one_layer():
    for module in MODULES:
        assert layer_of(module) >= 0


def test_there_are_no_import_cycles_at_load_time():
    graph = {module: imports(module, functions=False) for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module in done:
            return
        for name in graph[module]:
            # A package's __init__ that its own module imports is loaded already.
            if not module.startswith(name + "."):
                visit(name, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def calls(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


# The relay, the signal witness and the child before its exec are processes of their own, not the engine.
OWN_PROCESSES = {
    "dre_core.capture.relay",
    "dre_core.capture.launch",
    "dre_core.capture.signals",
    "dre_core.capture.lookout",
    "dre_core.capture.tracer",
    "dre_core.capture.forker",
    "dre_ci.isolation",
}


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("dre_ci")])
def test_only_dre_ci_prints(module):
    named = {name for name, _ in calls(MODULES[module])}
    assert not named & {"print", "sys.stdout.write", "sys.stderr.write"}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "dre_ci.cli"])
def test_only_the_command_line_exits(module):
    named = {name for name, _ in calls(MODULES[module])}
    assert not named & {"sys.exit", "exit", "quit"}
    if module not in OWN_PROCESSES:
        assert "os._exit" not in named


def test_hooks_import_only_pluggy():
    tree = ast.parse(MODULES["dre_core.hooks"].read_text())
    names = set()
    for node in statements(tree.body, functions=True):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert names <= {"__future__", "collections.abc", "typing", "pluggy"}


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_wrap_loads_nothing_that_it_does_not_need():
    loaded = loaded_by("import dre_ci.cli, dre_ci.commands.wrap, dre_core.engine, dre_core.capture.process")
    assert not loaded & {"pytest", "requests", "jinja2", "github3", "coverage", "junitparser", "yaml"}


def test_a_plain_wrap_loads_neither_judges_nor_reports(tmp_path):
    script = (
        "import os, sys\nfrom dre_ci import cli\n"
        "ended = cli._guarded(cli._run, ['wrap', '--', 'sh', '-c', 'echo in'])\n"
        "assert ended.code == 0, ended\nprint('\\n'.join(sys.modules))"
    )
    environ = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "DRE_DIR": str(tmp_path / "dre")}
    environ.pop("VIRTUAL_ENV", None)  # its packages would be listed
    run = [sys.executable, "-c", script]
    subprocess.run(
        run, env=environ, cwd=tmp_path, capture_output=True, check=True
    )  # makes keys and certificate
    done = subprocess.run(run, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "in" in loaded
    unwanted = ("dre_core.verify", "dre_core.report", "dre_core.verification", "dre_core.store.bundle")
    assert not {name for name in loaded if name.startswith(unwanted)} - {"dre_core.verify", "dre_core.report"}
    assert not loaded & {"psutil", "zstandard", "yaml", "dre_core.model.journal", "dre_core.pipeline.closing"}


def test_the_operation_names_the_certificate_as_the_checks_do():
    from dre_core import operation
    from dre_core.verify import integrity

    assert operation.CERTIFICATE_KIND == integrity.CERTIFICATE_KIND


def test_the_plugin_alone_loads_no_core():
    loaded = loaded_by("import dre_pytest.plugin")
    assert not {name for name in loaded if name.startswith(("dre_core", "cryptography"))}


def test_every_module_says_what_it_is():
    for module, path in MODULES.items():
        assert ast.get_docstring(ast.parse(path.read_text())), module
