"""Byte-code for a new environment from those that have it: uv installs the same files by hard links, without any."""

import contextlib
import os
import sys
from collections.abc import Iterable
from importlib.util import cache_from_source
from pathlib import Path


def link_bytecode(environment: Path) -> int:
    """Link the byte-code of each module that is one file with a compiled one of an environment in use; how many.

    Compiling costs more than the rest of building an environment does. Python looks at the file's size and time, and
    compiles what does not agree. Where files are copied, none is the same and nothing is done.
    """
    linked = 0
    for target in environment.glob("lib/python*/site-packages"):
        sources = [
            found for prefix in prefixes_in_use() if (found := prefix / target.relative_to(environment)).is_dir()
        ]
        for folder, _, names in os.walk(target):
            modules = [Path(folder, name) for name in names if name.endswith(".py")]
            linked += link_folder(modules, [source / Path(folder).relative_to(target) for source in sources])
    return linked


def prefixes_in_use() -> Iterable[Path]:
    """The environment of this Python, and those on PATH: `mlflow run` was started from one of them."""
    on_path = [Path(folder).parent for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    return dict.fromkeys([Path(sys.prefix), *(prefix for prefix in on_path if (prefix / "pyvenv.cfg").is_file())])


def link_folder(modules: Iterable[Path], sources: list[Path]) -> int:
    """Link the byte-code of these modules of one folder from the first of the folders that has it; how many."""
    linked = 0
    for source in sources if modules else []:
        if not (source / "__pycache__").is_dir():
            continue
        for module in modules:
            compiled = Path(cache_from_source(str(module)))
            with contextlib.suppress(OSError):  # it is not there, or is there already, or cannot be linked
                twin = source / module.name
                if module.samefile(twin):
                    compiled.parent.mkdir(exist_ok=True)
                    os.link(cache_from_source(str(twin)), compiled)
                    linked += 1
    return linked
