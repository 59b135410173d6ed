"""`python main.py --help`: what can be typed, on one screen, and with a step's name what its parameters mean."""

import contextlib
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import raw_config
from pipeline.config import Step
from pipeline.errors import RequestError
from pipeline.planning.project import Project, load

WIDTH = 80  # characters
USAGE = """\
  python main.py                                  all steps of config.yaml
  python main.py 'steps=[training,inference]'     some of them; from=STEP, to=STEP
  python main.py training.model=random_forest     with a parameter changed
  python main.py dry_run=true                     what would run, and why
  python main.py force=true verbose=true          all again, with what the steps write
  python main.py --multirun training.seed=0,1,2   each value in turn, and a table
  python main.py --watch                          again whenever a file changes
  python main.py status | diff | graph | report   where we stand; how runs differ
  python main.py ci-report                        how the last two differ, as Markdown
  python main.py clean --keep 90d dry_run=true    what nothing refers to any more
  python main.py --config-dir FOLDER           another pipeline: that folder's config.yaml
  python main.py --cfg job                        the configuration as composed
  mlflow run . -P steps=training -P overrides="training.seed=1"
Exit codes: 0 done, 1 a step failed, 2 the request was wrong, nothing was started.

Steps, and the parameters that `--help STEP` explains:"""


def help_text(root: Path, arguments: list[str]) -> str:
    """The screen; with a step's name among the arguments, that step's parameters."""
    blocks = None
    with contextlib.suppress(RequestError):  # help is there whatever is wrong with config.yaml
        blocks = raw_config(root).get("pipeline")
    steps = {name: block or {} for name, block in blocks.items()} if isinstance(blocks, Mapping) else {}
    asked = [argument for argument in arguments if argument in steps]
    if asked:
        return "\n\n".join(explained(root, name, steps[name]) for name in asked)
    width = max(map(len, steps), default=0) + 2
    lines = []
    for name, block in steps.items():
        if project := project_of(root, name, block):
            lines.append(one_line(f"  {name:<{width}}", ", ".join(project.parameters)))
    return "\n".join([USAGE, *lines])


def explained(root: Path, name: str, block: Mapping[str, Any]) -> str:
    """A step's parameters: value or default, and meaning."""
    project, lines = project_of(root, name, block), [f"{name} (in config.yaml, or as {name}.PARAMETER=VALUE)"]
    given = block.get("parameters") or {}
    for parameter, declared in (project.parameters if project else {}).items():
        value = given.get(parameter, declared.get("default"))
        lines.append(f"  {parameter} = {value if value not in (None, '') else '(empty)'}")
        text = str(declared.get("description") or "")
        lines += textwrap.wrap(text, WIDTH, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def project_of(root: Path, name: str, block: Mapping[str, Any]) -> Project | None:
    """The step's project, where its folder is here."""
    folder = str(block.get("uri") or block.get("extends") or name)
    entry_point = str(block.get("entry_point") or "main")
    try:
        return load(Step(name, entry_point=entry_point), root / folder, check=False)
    except (RequestError, OSError):
        return None


def one_line(start: str, text: str) -> str:
    """Cut at a word where the line is full."""
    room = WIDTH - len(start)
    return start + (text if len(text) <= room else re.sub(r",? [^ ]*$", " …", text[: room - 1]))
