"""Recall, false alarms and speed of masking beside other engines, on a labelled corpus that others made.

Run by hand: ``python tests/bench/secrets/bench_public.py COPY_OF_TRUFFLEHOG [ENGINE ...]``. The copy is a checkout or a
bare git directory (see ``public_corpus.py``). Engines are ``dre`` and, where they are installed, ``gitleaks``,
``betterleaks`` and ``detect-secrets``; default: all of them. ``DRE_MASK__RULES=FILE`` adds a file of rules. A secret
counts as found if its text is gone, or, for the engines that only report, if it lies inside a report. Lines without a
labelled secret count as altered if something in them was masked or reported; some of them hold a secret that the
corpus does not label.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[3])]

from public_corpus import Case, cases  # noqa: E402 - found on the path just added

Engine = Callable[[list[Case]], list[set[str]]]
"""Gives the texts found in each case."""


def gitleaks(corpus: list[Case]) -> list[set[str]]:
    found: list[set[str]] = [set() for _ in corpus]
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(corpus):
            Path(folder, f"{number}.txt").write_text(case.text)
        report = Path(folder, "report.json")
        words = [
            "gitleaks",
            "dir",
            folder,
            "--exit-code=0",
            "--report-format=json",
            f"--report-path={report}",
        ]
        subprocess.run(words, capture_output=True, check=True)
        for finding in json.loads(report.read_text()):
            name = Path(finding["File"]).stem
            if name.isdigit():
                found[int(name)].add(finding["Secret"])
    return found


def betterleaks(corpus: list[Case]) -> list[set[str]]:
    from betterleaks import scan_string

    def secret(finding: object) -> str:
        match = getattr(finding, "match", None)
        return str(getattr(finding, "secret", "") or getattr(match, "secret", "") or "")

    return [{secret(finding) for finding in scan_string(case.text)} for case in corpus]


def detect_secrets(corpus: list[Case]) -> list[set[str]]:
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import default_settings

    with tempfile.TemporaryDirectory() as folder, default_settings():
        found = []
        for number, case in enumerate(corpus):
            path = Path(folder, f"{number}.txt")
            path.write_text(case.text)
            found.append({str(hit.secret_value) for hit in scan_file(str(path))})
    return found


OTHERS: dict[str, Engine] = {
    "gitleaks": gitleaks,
    "betterleaks": betterleaks,
    "detect-secrets": detect_secrets,
}


def dre(corpus: list[Case]) -> tuple[int, int]:
    """Secrets gone, and lines without a labelled secret that changed."""
    from own import masker

    gone = altered = 0
    for case in corpus:
        masked = masker().text(case.text)
        gone += sum(secret not in masked for secret in case.secrets)
        altered += sum(masker().text(line) != line for line in harmless(case))
    return gone, altered


def harmless(case: Case) -> list[str]:
    return [
        line for line in case.text.split("\n") if line.strip() and not any(s in line for s in case.secrets)
    ]


def other(engine: Engine, corpus: list[Case]) -> tuple[int, int]:
    gone = altered = 0
    for case, texts in zip(corpus, engine(corpus), strict=True):
        gone += sum(any(secret in text for text in texts) for secret in case.secrets)
        altered += sum(any(text and text in line for text in texts) for line in harmless(case))
    return gone, altered


def speed_of_masking() -> str:
    """Megabytes a second on lines as a test runner prints them, and on the corpus itself."""
    from own import masker

    lines = b"".join(
        b"tests/unit/test_%d.py::test_thing[%d] PASSED   [ %d%%]\n" % (number % 50, number, number % 100)
        for number in range(300_000)
    )
    began = time.process_time()
    masker("hunter2secretvalue").bytes(lines)
    return f"{len(lines) / 1e6 / (time.process_time() - began):.0f} MB/s"


def main(copy: Path, names: list[str]) -> None:
    corpus = list(cases(copy))
    secrets = sum(len(case.secrets) for case in corpus)
    lines = sum(len(harmless(case)) for case in corpus)
    print(f"{len(corpus)} cases, {secrets} secrets, {lines} lines without a labelled one\n")
    print("| engine | secrets gone | other lines hit | seconds |\n| --- | --- | --- | --- |")
    for name in names:
        began = time.perf_counter()
        try:
            gone, altered = dre(corpus) if name == "dre" else other(OTHERS[name], corpus)
        except ImportError:
            continue
        spent = time.perf_counter() - began
        print(f"| {name} | {gone / secrets:.3f} | {altered / lines:.2%} | {spent:.1f} |")
    if "dre" in names:
        print(f"\nmasking of a test runner's lines: {speed_of_masking()}")


if __name__ == "__main__":
    usable = [name for name in OTHERS if name != "gitleaks" or shutil.which("gitleaks")]
    main(Path(sys.argv[1]), sys.argv[2:] or ["dre", *usable])
