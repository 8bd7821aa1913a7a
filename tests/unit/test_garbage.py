"""Searching for garbage: off meanwhile, and afterwards as it was."""

from __future__ import annotations

import gc

import pytest

from dre_core.garbage import unsearched


@pytest.fixture(autouse=True)
def _as_it_was():
    was = gc.isenabled()
    yield
    (gc.enable if was else gc.disable)()


def test_it_is_off_meanwhile_and_on_again_after_an_error():
    gc.enable()
    found = []

    def search() -> None:
        with unsearched():
            found.append(gc.isenabled())
            raise KeyError

    with pytest.raises(KeyError):
        search()
    assert found == [False]
    assert gc.isenabled()


def test_who_switched_it_off_finds_it_off():
    gc.disable()
    with unsearched():
        assert not gc.isenabled()
    assert not gc.isenabled()
