"""Which exceptions mean that a test failed."""

from __future__ import annotations

import sys

import pytest

_ENDINGS = (pytest.skip.Exception, pytest.xfail.Exception, pytest.exit.Exception, KeyboardInterrupt)


def is_failure(error: BaseException | None) -> bool:
    """Whether an exception fails the test that raised it, rather than skip it, expect it or end the run."""
    return error is not None and not isinstance(error, _ENDINGS) and not _is_unittest_skip(error)


def _is_unittest_skip(error: BaseException) -> bool:
    # Without importing unittest for it.
    unittest = sys.modules.get("unittest")
    return unittest is not None and isinstance(error, unittest.SkipTest)
