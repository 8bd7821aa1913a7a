"""The shipped contract tests, run against the built-ins, and against parts that break each rule."""

from __future__ import annotations

import pytest

import dre_core
from dre_core import registry, testing
from dre_core.capture.collector import Scene
from dre_core.config import Config
from dre_core.errors import MissingExtraError
from dre_core.store.local import LocalStore


def parts(modules, hook, **arguments):
    manager = registry.load(modules)
    return registry.flatten(getattr(manager.hook, hook)(**arguments))


def test_the_local_store(tmp_path):
    testing.check_backend(lambda: LocalStore(tmp_path))


class Forgetful(LocalStore):
    def delete(self, digest):
        super().delete(digest)
        return True


def test_a_store_that_lies_is_found_out(tmp_path):
    with pytest.raises(AssertionError, match="deleting again"):
        testing.check_backend(lambda: Forgetful(tmp_path))


@pytest.mark.parametrize(
    "verifier", parts(registry.VERIFIERS, "dre_verifiers", config=Config()), ids=lambda v: v.name
)
def test_the_verifiers(verifier):
    testing.check_verifier(verifier)


@pytest.mark.parametrize("renderer", parts(registry.RENDERERS, "dre_renderers"), ids=lambda r: r.name)
def test_the_renderers(renderer):
    try:
        testing.check_renderer(renderer)
    except MissingExtraError as error:
        pytest.skip(f"{error}: {error.hint}")


@pytest.mark.parametrize(
    "collector", parts(registry.COLLECTORS, "dre_collectors", config=Config()), ids=lambda c: c.name
)
def test_the_collectors(collector, project):
    scene = Scene(
        root=project.path,
        cwd=project.path,
        environ={},
        config=Config(),
        operation="op_x",
        experiment=project.path,
        junit=("*.py",),
    )
    testing.check_collector(collector, scene)


def test_public_names():
    assert len(dre_core.__all__) <= 24
    assert sorted(dre_core.__all__, key=str.lower) == sorted(dre_core._PLACES, key=str.lower)
    for name in dre_core.__all__:
        assert getattr(dre_core, name) is not None
    with pytest.raises(AttributeError):
        dre_core.no_such_name  # noqa: B018


def test_an_unknown_plugin_is_named():
    with pytest.raises(dre_core.DREError, match="there is no plugin wild"):
        registry.load((), ["wild"])
