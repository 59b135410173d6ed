"""Pages for readers: the commands that they show, and a clone in which these run."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

HERE = Path(sys.executable).parent.parent  # this interpreter's environment


def commands(page: str) -> list[str]:
    """The lines of a page's `sh` blocks, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def set_up(project: Path) -> None:
    """This interpreter's environment as the clone's .venv, ready; nothing is written into it."""
    (project / ".venv").mkdir()
    for path in HERE.iterdir():
        if path.name != "ready":
            (project / ".venv" / path.name).symlink_to(path)
    (project / ".venv" / "ready").touch()


def failing(project: Path, commands: Iterable[str], timeout: int = 300) -> list[str]:
    """Run each command in a shell session of its own, in order; those that fail."""
    environ = os.environ | {"PATH": f"{HERE / 'bin'}:{os.environ['PATH']}"}
    failed = []
    for command in commands:
        started = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command], cwd=project, env=environ, capture_output=True, text=True, timeout=timeout
        )
        seconds = time.monotonic() - started
        print(f"$ {command}   # {done.returncode}, {seconds:.0f} s", done.stdout, done.stderr, sep="\n")
        if done.returncode:
            failed.append(command)
    return failed
