"""Run by the Python of a step's own environment, before the step: imports what its script imports, then waits for it.

    python prewarmed_interpreter.py READY_FILE SCRIPT MODULE…
                                            imports the modules, and what the script imports at its top, then makes
                                            READY_FILE
    a line of JSON on standard input        {"arguments": ["run.py", …], "folder": "…", "environ": {…}}: run the script
    the end of standard input               nobody wants it: leave

Standard library only, and nothing newer than Python 3.8: this runs wherever a step does.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import json
import os
import re
import runpy
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def main(ready_file: str, script: str, modules: list[str]) -> int:
    """Import, wait for the line, run the script; the exit code."""
    sys.path[0] = str(Path(script).parent)  # not the folder of this file
    gc.disable()  # nothing that an import makes is garbage
    for module in [*modules, *imported_modules(Path(script))]:
        with contextlib.suppress(Exception):  # the script will say so itself, if it needs it
            importlib.import_module(module)
    gc.freeze()
    gc.enable()
    with contextlib.suppress(OSError):
        Path(ready_file).touch()
    line = sys.stdin.readline()
    if not line:
        return 0
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    return run_script(**json.loads(line))


def imported_modules(script: Path) -> list[str]:
    """What a script, and the modules beside it, import before they do anything else; the script itself is not run."""
    found: list[str] = []
    seen: set[Path] = set()
    files = [script]
    while files:
        file = files.pop()
        if file in seen:
            continue
        seen.add(file)
        try:
            tree = parsed_head(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        for statement in tree.body[bool(ast.get_docstring(tree)) :]:
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom):
                names = [statement.module] if statement.module and not statement.level else []
            else:
                break  # it may matter to the imports that follow: a setting, a path
            for name in names:
                beside = script.parent / name.partition(".")[0]
                if beside.with_suffix(".py").is_file():
                    files.append(beside.with_suffix(".py"))
                elif not beside.is_dir():
                    found.append(name)
    return found


def parsed_head(source: bytes) -> ast.Module:
    """A script up to its first function or class, if that can be told: the whole takes five times as long to parse."""
    head = re.split(rb"^(?:def|class|@|if|async) ?\b", source, maxsplit=1, flags=re.MULTILINE)[0]
    try:
        return ast.parse(head)
    except (SyntaxError, ValueError):  # that word was one of the docstring's
        return ast.parse(source)


def run_script(arguments: list[str], folder: str, environ: Mapping[str, str]) -> int:
    """Run a Python script as `__main__` in `folder`, as if this process had been started for it; its exit code."""
    os.environ.update(environ)
    os.chdir(folder)
    script = str(Path(folder, arguments[0]))
    sys.argv = arguments
    sys.path[0] = str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as leave:
        if leave.code is None or isinstance(leave.code, int):
            return leave.code or 0
        print(leave.code, file=sys.stderr)
        return 1
    except BaseException as error:
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename != script:
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace or error.__traceback__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
