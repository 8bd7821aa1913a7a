"""The JUnit writer's short way gives what junitparser gives."""

from __future__ import annotations

from xml.etree.ElementTree import canonicalize

from hypothesis import example, given
from hypothesis import strategies as st

from dre_core.model.session import Outcome
from dre_core.report.junit import Budget, Case, _element, _is_bare, _line, escape

TEXT = st.text(max_size=20)


@given(
    TEXT,
    TEXT,
    TEXT,
    st.integers(0, 10**6),
    st.floats(0, 10**6),
    st.sampled_from([Outcome.PASSED, Outcome.XPASSED]),
)
@example("a\"b<&'>\n\t\r\0\ud800", "c", "f", 1, 1e-6, Outcome.PASSED)
@example("", "", "", 0, 0.0, Outcome.XPASSED)
def test_a_case_without_children(name, classname, file, line, seconds, outcome):
    case = Case(classname=classname, name=name, outcome=outcome, file=file, line=line, seconds=seconds)
    assert _is_bare(case)
    unique = escape(name)
    # junitparser writes by lxml where that is installed, which leaves out a space.
    theirs = _element(case, unique, Budget(1 << 20)).tostring().decode()
    assert canonicalize(_line(case, unique).decode().rstrip("\n")) == canonicalize(theirs)
