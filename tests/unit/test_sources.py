"""Loaded functions against their sources: what runs as it stands there, and what does not."""

from __future__ import annotations

import importlib.util
import os
import sys
import time

import pytest

from dre_pytest.sources import Comparison, own_modules

SOURCE = """
import functools

def double(n):
    return 2 * n

def quiet(function):
    @functools.wraps(function)
    def around(*args):
        return function(*args)
    return around

class Shop:
    seven = staticmethod(lambda: 7)

    @property
    def name(self):
        return "shop"

    @quiet
    def total(self, items):
        return sum(price for price in items if price > 0)
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)

    def load(text=SOURCE, name="dre_sample_shop"):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def compared(config, module, seconds=1.0):
    comparison = Comparison(config, time.time())
    comparison.run([module], seconds)
    return comparison


@pytest.mark.parametrize(("seconds", "compiled"), [(1.0, 1), (1e-4, 0)], ids=["source", "bytecode"])
class TestBoth:
    def test_what_stands_there_is_let_be(self, pytestconfig, load, seconds, compiled):
        module = load()
        for _ in range(10_000):  # the interpreter rewrites what runs often
            module.double(3)
        assert module.Shop().total([1, -1]) == 1
        found = compared(pytestconfig, module, seconds)
        assert (found.altered, found.compiled, found.modules) == ([], compiled, 1)

    def test_other_code_is_named(self, pytestconfig, load, seconds, compiled):
        module = load()
        exec(
            compile("\n\n\ndef double(n): return 3 * n", module.__file__, "exec", dont_inherit=True),
            vars(module),
        )
        found = compared(pytestconfig, module, seconds)
        assert found.altered == [("dre_sample_shop.double", module.__file__, 4)]

    def test_other_code_below_a_decorator_is_named(self, pytestconfig, load, seconds, compiled):
        module = load()
        inner = module.Shop.total.__wrapped__
        inner.__code__ = (lambda self, items: 0).__code__.replace(
            co_filename=module.__file__, co_firstlineno=inner.__code__.co_firstlineno
        )
        found = compared(pytestconfig, module, seconds)
        assert [name for name, _, _ in found.altered] == ["dre_sample_shop.Shop.total"]


def test_bytecode_of_another_source_is_named(pytestconfig, load):
    load()
    cached = load(SOURCE.replace("2 * n", "3 * n"))
    assert cached.double(1) == 2  # of the same size and time, so Python loads what it has
    found = compared(pytestconfig, cached)
    assert [name for name, _, _ in found.altered] == ["dre_sample_shop.double"]


def test_a_source_that_changed_since_is_not_held_against_it(pytestconfig, load):
    module = load()
    with open(module.__file__, "a") as stream:
        stream.write("\ndef double(n):\n    return 4 * n\n")
    found = Comparison(pytestconfig, time.time() - 60)
    found.run([module], 1.0)
    assert (found.altered, found.compiled) == ([], 0)


def test_a_missing_or_broken_source_says_nothing(pytestconfig, load):
    module = load()
    os.remove(module.__file__)
    assert compared(pytestconfig, module).altered == []
    with open(module.__file__, "w") as stream:
        stream.write("def (:")
    os.utime(module.__file__, (1, 1))
    assert compared(pytestconfig, module).altered == []


def test_what_hypothesis_makes_of_a_function_is_let_be(pytestconfig, load):
    pytest.importorskip("hypothesis")
    module = load(
        "from hypothesis import given, strategies as st\n\n@given(st.integers())\ndef test_a(n):\n    assert n == n\n"
    )
    module.test_a()
    found = compared(pytestconfig, module)
    assert (found.altered, found.compiled) == ([], 1)
    # As pytest's rewriter would have loaded it: what stands in for the test has no assertion of its own.
    vars(module)["@pytest_ar"] = None
    assert compared(pytestconfig, module).altered == []


def test_an_instrument_may_add(pytestconfig, load, monkeypatch):
    """A loader of a distribution that puts a line before each function's first."""
    module = load()
    text = SOURCE.replace("    return 2 * n", "    count = 1; return 2 * n")
    exec(compile(text, module.__file__, "exec", dont_inherit=True), vars(module))
    assert len(compared(pytestconfig, module).altered) == 1
    import hypothesis.errors

    monkeypatch.setattr(module.__spec__, "loader", hypothesis.errors.InvalidState())
    assert compared(pytestconfig, module).altered == []
    exec(compile("\n\n\ndef double(n): return n", module.__file__, "exec", dont_inherit=True), vars(module))
    assert len(compared(pytestconfig, module).altered) == 1


def test_own_modules_are_those_of_the_project(tmp_path, load):
    module = load()
    load("", "conftest")
    assert own_modules(tmp_path) == [module]
