"""Modules whose code runs when something of them is first asked for, not when they are imported.

As MLflow does with its flavors, and `importlib.util.LazyLoader` with a module that is not a package: that one runs a
package as soon as a module in it is imported.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def lazily_loaded(*names: str) -> Iterator[None]:
    """Those of the modules `names` that are first imported meanwhile are lazy, then and later.

    Not for a module that does something by being imported, nor for a package whose modules need what itself defines.
    """
    finder = Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class Finder(MetaPathFinder):
    """Finds the modules of these names where they lie, and puts a `LazyLoader` before their own."""

    def __init__(self, names: Sequence[str]):
        self.names = names

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The module's spec; None for other names."""
        spec = PathFinder.find_spec(fullname, path) if fullname in self.names else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec


class LazyLoader(Loader):
    """Leaves the module empty, but for a `__getattr__` (PEP 562) that has its own loader run it."""

    def __init__(self, loader: Any):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing yet."""
        if module.__spec__:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        variables, lock, begun = vars(module), threading.RLock(), False

        def load(name: str) -> Any:
            nonlocal begun
            with lock:  # another thread waits until all of it is there
                if not begun:
                    begun = True
                    try:
                        self.loader.exec_module(module)
                    except BaseException:
                        begun = False  # whoever asks next is told, too
                        raise
                    if variables.get("__getattr__") is load:
                        del variables["__getattr__"]
            if name in variables:
                return variables[name]
            if (its_own := variables.get("__getattr__", load)) is not load:
                return its_own(name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module)

        variables["__getattr__"] = load
