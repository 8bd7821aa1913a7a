"""What a report of many tests costs: seconds to make it, its size, and how long Chromium takes to show it.

Records a real run of that many trivial tests, renders it in every text format, and opens the page three times. Prints
the figures and asserts none. Needs Chromium and playwright: ``python tests/bench/bench_report.py [--tests 50000]``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FORMATS = ("html", "markdown", "junit", "json", "sarif", "cyclonedx")
TESTS = """import pytest

@pytest.mark.parametrize("n", range({count}))
def test_number(n):
    assert n >= 0
"""


def dre(folder: Path, *words: str) -> float:
    """Runs a command there and gives its seconds."""
    environ = {**os.environ, "HOME": str(folder / "home")}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dre_ci.cli", *words],
        cwd=folder,
        env=environ,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr.decode(errors="replace"))
    return time.perf_counter() - start


def record(folder: Path, count: int) -> float:
    """A real run of trivial tests in ten files."""
    for number in range(10):
        (folder / f"test_part_{number}.py").write_text(TESTS.format(count=count // 10))
    return dre(folder, "wrap", "--", sys.executable, "-m", "pytest", "--dre", "-q", "-p", "no:cacheprovider")


def shown(page: Path) -> dict[str, float]:
    """Milliseconds until the page is there, and until a search and a sorting of all tests are."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {"load": [], "search": [], "sort": []}
    clock = "() => { const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd - t.startTime }"
    act = (
        "([id, value, event]) => { const start = performance.now(); const e = document.getElementById(id);"
        " e.value = value; e.dispatchEvent(new Event(event)); document.body.offsetHeight;"
        " return performance.now() - start }"
    )
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        for _ in range(3):
            tab = chromium.new_page()
            tab.goto(page.as_uri())
            found["load"].append(tab.evaluate(clock))
            found["search"].append(tab.evaluate(act, ["test-search", "number[4", "input"]))
            found["sort"].append(tab.evaluate(act, ["test-order", "slow", "change"]))
            tab.close()
        chromium.close()
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, nargs="*", default=[1_000, 50_000])
    for count in parser.parse_args().tests:
        with tempfile.TemporaryDirectory(prefix="dre-bench-") as name:
            folder = Path(name)
            print(f"{count} tests, recorded and sealed in {record(folder, count):.1f} s")
            for kind in FORMATS:
                path = folder / f"report.{kind}"
                seconds = dre(folder, "report", "generate", "--format", kind, "--output", str(path))
                print(
                    f"  {kind:<10} {path.stat().st_size / 1e6:8.3f} MB in {seconds:5.2f} s, verifying included"
                )
            times = ", ".join(f"{what} {ms:.0f} ms" for what, ms in shown(folder / "report.html").items())
            print(f"  Chromium   {times} (medians of 3)")


if __name__ == "__main__":
    main()
