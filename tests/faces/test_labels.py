"""What a pull request's labels and text declare, from the forge to the verdict: the steps ``wrap`` and ``verify``."""

from __future__ import annotations

import sys

import pytest

from tests.faces.test_verify_step import Story, propose

CONFIG = """\
claim:
  labels: ["spec=behavior-change", "clean-up=refactor"]
  patterns: ["^refactor:=refactor"]
  changes: ["^Changes-tests: (.*)$"]
"""
POLICY = "preset: ci\nlabels: {spec: behavior-change, clean-up: refactor}\n"
NAMES = "Doubling nothing is no longer asked.\n\nChanges-tests: test_shop.py::test_four\n"
FEWER = "from shop import double\n\ndef test_two():\n    assert double(1) == 2\n"


@pytest.fixture
def story(project, github, tmp_path):
    """A pull request that takes a test away, in a project that says what its labels mean."""
    made = Story(project, github, tmp_path)
    project.git("checkout", "-q", "main")
    project.write("dre.yaml", CONFIG)
    project.write("policy.yaml", POLICY)
    made.base = project.commit("what labels mean")
    project.git("checkout", "-q", "change")
    project.git("reset", "-q", "--hard", "main")
    propose(made, {"test_shop.py": FEWER})
    return made


RUN = f"{sys.executable} -m pytest -q -p no:cacheprovider --dre"


def say(story, *labels, title="Ask less", body=NAMES):
    story.said = {"title": title, "body": body, "labels": [{"name": name} for name in labels]}


def told(story):
    """The verdict's headline and findings in the comment that the trusted job left on the pull request."""
    code, status = story.verify(policy="policy.yaml")
    assert story.github.statuses, story.done.stderr.decode()
    return code, status["state"], story.github.comments(story.number)[-1]["body"]


def test_a_label_by_the_forges_word_stands_behind_the_tests_that_the_author_names(story):
    say(story)
    story.wrap(base=story.base, run=RUN)
    _, state, body = told(story)
    assert state == "pending"
    assert "unsigned, it may only tighten" in body
    say(story, "spec", "help wanted")
    assert told(story)[:2] == (0, "success")
    # Two labels that disagree say nothing, nor does one for another kind.
    for labels in (("spec", "clean-up"), ("clean-up",)):
        say(story, *labels)
        assert told(story)[1] == "pending"


@pytest.mark.slow
def test_the_authors_own_job_can_not_say_it_for_the_forge(story):
    say(story, "spec")
    story.wrap(base=story.base, run=RUN)
    say(story)
    _, state, body = told(story)
    assert (state, "tests-removed" in body) == ("pending", True)


def test_a_title_that_promises_a_refactoring_is_held_to_it(story):
    say(story, title="refactor: doubling")
    wrong = "def double(n):\n    return n if n > 1 else 2 * n\n"
    kept = FEWER + "\ndef test_four():\n    assert double(2) is not None\n"
    propose(story, {"shop.py": wrong, "test_shop.py": kept})
    story.wrap(base=story.base, run=RUN, replay="matrix")
    _, state, body = told(story)
    assert state == "failure"
    assert "claimed is a refactor, but 1 test fails on the new source as written at the base" in body
