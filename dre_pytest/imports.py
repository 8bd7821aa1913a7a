"""Which file each package under test was really loaded from.

Not a dependency list: only top-level packages that the test modules use, or that lie in the project. It shows
the copy in ``site-packages`` that was tested in place of the checkout.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType

from dre_pytest.hooks import relative

MAX_IMPORTS = 1_000
_OWN = frozenset({"_pytest", "pytest", "pluggy", "py", "iniconfig", "dre_core", "dre_pytest", "dre_ci"})


def loaded(test_modules: Iterable[ModuleType], rootdir: Path) -> dict[str, str]:
    """Top-level packages and the files they came from.

    Args:
        test_modules: The modules that tests were collected from.
        rootdir: Paths below it are given relative to it.

    Returns:
        Name to file; a namespace package gives its first folder.
    """
    modules = list(test_modules)
    own = {module.__name__.partition(".")[0] for module in modules}
    names = {name for module in modules for name in _used(module)} | set(_local(rootdir))
    names -= own | _OWN | set(sys.stdlib_module_names)
    found = {name: _origin(name) for name in sorted(names)[:MAX_IMPORTS]}
    return {name: relative(file, rootdir) for name, file in found.items() if file}


def _used(module: ModuleType) -> Iterator[str]:
    """Top-level names of the modules that a module's globals are, or were defined in, its own functions aside."""
    own = module.__name__
    for value in list(vars(module).values()):
        if type(value) is FunctionType and value.__module__ == own:
            continue  # a test, as most of them are
        try:
            name = value.__name__ if isinstance(value, ModuleType) else _home(value)
        except Exception:  # noqa: S112  a lazy object may run anything when asked for an attribute
            continue
        if isinstance(name, str) and name:
            yield name.partition(".")[0]


def _home(value: object) -> object:
    """The name of the module that defines a class, a function, or an object's class."""
    return getattr(value if callable(value) else type(value), "__module__", "")


def _local(rootdir: Path) -> Iterator[str]:
    """Top-level modules loaded from below rootdir, whoever imported them."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if "." in name or not isinstance(file, str) or name in ("__main__", "conftest"):
            continue
        if file.startswith(str(rootdir)) and "site-packages" not in file:
            yield name


def _origin(name: str) -> str:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return file
    path = getattr(module, "__path__", None)
    return str(next(iter(path), "")) if path is not None else ""
