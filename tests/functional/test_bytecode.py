"""Bytecode that is made before cells are forked: it is what they would have compiled, and goes nowhere else."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from dre_core.capture.stem import Stem, environ_of_cells

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are made on Linux only")

ENVIRON = {
    **environ_of_cells(os.environ, "/nowhere"),
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONWARNINGS": "",
    "PYTHONDONTWRITEBYTECODE": "1",  # what lies there was put there before
}
SHOP = "def price():\n    return 7\n"
TEST = "import shop\n\ndef test_price():\n    assert shop.price() == 7\n"


@pytest.fixture
def stem():
    started = Stem.start(sys.executable, ENVIRON)
    assert started is not None
    yield started
    started.close()


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_name(f"{path.name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait(stem: Stem) -> None:
    """Until everything is compiled."""
    assert stem.fits([])
    for _ in range(600):
        running = [
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            for pid in children(stem._process.pid)
        ]
        if running and set(running) == {"Z"}:
            return
        time.sleep(0.05)
    raise AssertionError("it does not end")


def run(
    stem: Stem, folder: Path, *words: str, clone: bool = True, seen: Path | None = None
) -> tuple[int | None, str]:
    output = folder.parent / "output.txt"
    output.write_bytes(b"")
    fork = stem.fork(
        ["-q", "-p", "no:cacheprovider", *words], cwd=folder, path=[str(folder)], environ=ENVIRON, output=output,
        clone=(str(folder) if clone else "", str(seen or folder)),
    )  # fmt: skip
    try:
        return fork.status(30), output.read_text(errors="replace")
    finally:
        fork.end()


def made(folder: Path) -> list[str]:
    return sorted(
        f"{p.relative_to(folder).parent.parent}/{p.name.partition('.')[0]}" for p in folder.rglob("*.pyc")
    )


def test_a_clone_gets_what_its_files_compile_to(stem, tmp_path):
    asks = "import os, shop\nassert os.path.exists(shop.__cached__)\n" + TEST.replace("== 7", "== 8")
    tree = write(tmp_path / "tree", shop=SHOP, tests__test_shop=asks, tests__conftest="", other=SHOP)
    stem.compile(str(tree), {})
    wait(stem)
    clone = write(tmp_path / "clone", shop=SHOP, tests__test_shop=asks, tests__conftest="", other="# " + SHOP)
    status, output = run(stem, clone)
    assert status == 1, output
    # As pytest rewrites it, and told of the clone's file.
    assert "assert 7 == 8" in output
    assert "where 7 = <function price" in output
    assert "tests/test_shop.py:6: AssertionError" in output
    assert made(clone) == ["./shop", "tests/conftest", "tests/test_shop"]
    assert made(tree) == []


def test_pytest_takes_it(stem, tmp_path):
    tree = write(tmp_path / "tree", shop=SHOP, test_shop=TEST)
    stem.compile(str(tree), {})
    wait(stem)
    clone = write(tmp_path / "clone", shop=SHOP, test_shop=TEST)
    counts = "import ast\nparse, seen = ast.parse, []\nast.parse = lambda *a, **k: seen.append(a) or parse(*a, **k)\n"
    (clone / "counting.py").write_text(counts + "def pytest_unconfigure(): print('parsed', len(seen))\n")
    status, output = run(stem, clone, "-p", "counting")
    assert status == 0, output
    assert "parsed 0" in output


def test_it_goes_into_the_clone_wherever_that_is_going_to_stand(stem, tmp_path):
    tree = write(tmp_path / "tree", shop=SHOP, test_shop=TEST)
    stem.compile(str(tree), {})
    wait(stem)
    clone = write(tmp_path / "clone", shop=SHOP, test_shop=TEST)
    assert run(stem, clone, seen=tree)[0] == 0
    assert made(clone) == ["./shop", "./test_shop"]
    assert made(tree) == []


def test_other_versions_are_told(stem, tmp_path):
    tree = write(tmp_path / "tree", shop="def price(): return 8\n")
    stem.compile(str(tree), {"shop.py": SHOP, "odd\udce9.py": SHOP})
    wait(stem)
    for name, text in (
        ("base", SHOP),
        ("head", "def price(): return 8\n"),
        ("neither", "def price(): return 9\n"),
    ):
        clone = write(tmp_path / name, shop=text, test_shop="def test_a(): pass\n")
        assert run(stem, clone)[0] == 0
        assert made(clone) == ([] if name == "neither" else ["./shop"])


def test_what_is_changed_in_the_clone_is_compiled_again(stem, tmp_path):
    stem.compile(str(write(tmp_path / "tree", shop=SHOP, test_shop=TEST)), {})
    wait(stem)
    clone = write(tmp_path / "clone", shop=SHOP, test_shop=TEST)
    assert run(stem, clone)[0] == 0
    status = (clone / "shop.py").stat()
    (clone / "shop.py").write_text(SHOP.replace("7", "8"))
    os.utime(clone / "shop.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run(stem, clone, clone=False)[0] == 1


def test_a_file_that_warns_is_left_to_who_imports_it(stem, tmp_path):
    warns = "ODD = '\\d'\n" + SHOP
    tree = write(
        tmp_path / "tree", shop=warns, test_shop=TEST, test_tuple="def test_a():\n    assert (1, 'x')\n"
    )
    stem.compile(str(tree), {})
    wait(stem)
    status, output = run(stem, tree, "-W", "error")
    assert status == 2, output
    assert "invalid escape sequence" in output
    assert "assertion is always true" in output
    assert made(tree) == ["./test_shop"]


@pytest.mark.parametrize("words", [("-o", "enable_assertion_pass_hook=true"), ()])
def test_another_way_to_rewrite_is_left_to_pytest(stem, tmp_path, words):
    hook = "def pytest_assertion_pass(item, lineno, orig, expl): print('PASSES', orig)\n"
    tree = write(tmp_path / "tree", shop=SHOP, test_shop=TEST, conftest=hook)
    if not words:
        (tree / "pytest.ini").write_text("[pytest]\nenable_assertion_pass_hook = true\n")
    stem.compile(str(tree), {})
    wait(stem)
    status, output = run(stem, tree, "-s", *words)
    assert status == 0, output
    assert "PASSES shop.price() == 7" in output


def test_nothing_is_written_elsewhere_or_over_anything(stem, tmp_path):
    names = {"one__shop": SHOP, "two__shop": SHOP, "three__shop": SHOP, "test_a": "def test_a(): pass\n"}
    tree = write(tmp_path / "tree", **names)
    stem.compile(str(tree), {"../outside/shop.py": SHOP, str(tmp_path / "outside" / "shop.py"): SHOP})
    wait(stem)
    clone = write(tmp_path / "clone", **names)
    outside = write(tmp_path / "outside", shop=SHOP)
    (clone / "one" / "__pycache__").symlink_to(outside)
    (clone / "two" / "shop.py").unlink()
    (clone / "two").rmdir()
    (clone / "two").symlink_to(outside)
    kept = clone / "three" / "__pycache__" / f"shop.{sys.implementation.cache_tag}.pyc"
    kept.parent.mkdir()
    kept.write_bytes(b"the project's own")
    assert run(stem, clone)[0] == 0
    assert [path.name for path in outside.iterdir()] == ["shop.py"]
    assert kept.read_bytes() == b"the project's own"


def test_hostile_source_stops_nothing(stem, tmp_path):
    tree = write(tmp_path / "tree", shop=SHOP, test_shop=TEST)
    hostile = (
        "(" * 100_000,
        "-" * 200_000 + "1",
        "x = \0",
        "def",
        "# coding: none\n",
        "'\\udce9'",
        "1" * 600_000,
    )
    for number, text in enumerate(hostile):
        (tree / f"odd{number}.py").write_text(text)
    (tree / "link.py").symlink_to("/dev/zero")
    os.mkfifo(tree / "pipe.py")
    stem.compile(str(tree), {f"odd{number}.py": text for number, text in enumerate(hostile)})
    wait(stem)
    status, output = run(stem, tree)
    assert status == 0, output
    assert [each for each in made(tree) if each != "./odd5"] == ["./shop", "./test_shop"]


def test_whoever_kills_it_has_cells_compile(stem, tmp_path):
    files = {f"m{number}": SHOP * 2_000 for number in range(40)}
    tree = write(tmp_path / "tree", shop=SHOP, test_shop=TEST, **files)
    stem.compile(str(tree), {})
    assert stem.fits([])
    for _ in range(600):
        if found := children(stem._process.pid):
            break
        time.sleep(0.01)
    os.kill(found[0], signal.SIGKILL)
    assert run(stem, tree)[0] == 0
    assert not children(stem._process.pid)


def test_a_cell_that_is_wanted_ends_it(stem, tmp_path):
    files = {f"m{number}": SHOP * 2_000 for number in range(40)}
    tree = write(tmp_path / "tree", shop=SHOP, test_shop=TEST, **files)
    stem.compile(str(tree), {})
    status, output = run(stem, tree)
    assert status == 0, output
    assert not children(stem._process.pid)
    stem.compile(str(tree), {})  # too late, and ignored
    assert run(stem, tree)[0] == 0
