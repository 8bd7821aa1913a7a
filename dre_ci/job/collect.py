"""What stands in for a command where a step only collects: it ends as the reports that are there say.

    python -m dre_ci.job.collect GLOB...

Ends with 0 where at least one test passed and none failed, with 1 where one failed, with 2 where there is no report.
It has run nothing, so what it claims is reported evidence, level 1.
"""

from __future__ import annotations

import sys
from glob import glob

from dre_core.capture.programmatic import read_junit
from dre_core.errors import DREError
from dre_core.report.build import count_words


def main(patterns: list[str]) -> int:
    """Reads the reports and says what they say.

    Args:
        patterns: Globs.
    """
    paths = sorted({path for pattern in patterns for path in glob(pattern, recursive=True)})
    bad = passed = 0
    for path in paths:
        try:
            with open(path, "rb") as stream:
                counts = read_junit(stream.read()).tests
        except (OSError, DREError) as error:
            print(f"{path}: {error}")
            bad += 1
            continue
        print(f"{path}: {count_words(counts)}")
        bad += counts.failed + counts.errors
        passed += counts.passed
    if not paths:
        print("there is no report")
    return 1 if bad else 0 if passed else 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
