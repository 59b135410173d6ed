"""What may come next on the command line of main.py, one a line: `python -m scaffold.completion WORD …`.

The last WORD is the one at the cursor. scaffold/completion.sh asks this from bash and zsh at each press of Tab; steps,
groups and parameters are those of config.yaml and of the MLprojects as they are now.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import raw_config
from pipeline.cli.commands import COMMANDS
from pipeline.cli.help import project_of
from pipeline.config import ENV_MANAGERS, SETTINGS
from pipeline.errors import RequestError

ROOT = Path(__file__).resolve().parent.parent
SWITCH = ("true", "false")
AFTER = {"graph": ("text", "mermaid", "svg"), "--cfg": ("job",), "--config-dir": ()}
FLAGS = ("--help", "--multirun", "--watch", "--cfg", "--config-dir")


def candidates(root: Path, words: Sequence[str]) -> Iterator[str]:
    """Whole words that the last of `words` may become; those that end in `=`, `.` or `,` want more behind them."""
    *before, word = words
    config = raw_config(root)
    steps = {name: block or {} for name, block in config["pipeline"].items()}
    last = before[-1] if before else ""
    if last in AFTER:
        found: Sequence[str] = AFTER[last]
    elif last == "--help":
        found = list(steps)
    elif "=" in word:
        key, _, value = word.partition("=")
        listed = value[: value.rfind(",") + 1] if key in ("steps", "force") else ""
        found = [f"{key}={listed}{one}" for one in values(root, key, config, steps)]
    elif "." in word:
        name = word.partition(".")[0]
        found = [f"{name}.{parameter}=" for parameter in parameters(root, name, steps)]
    else:
        keys = [key for key in config if key not in ("pipeline", "groups", "outputs", "defaults", "hydra")]
        found = [*(f"{key}=" for key in keys), *(f"{name}." for name in steps), *FLAGS]
        found = [*found, *COMMANDS] if not before else found
    yield from (one for one in found if one.startswith(word) and one != word)


def values(root: Path, key: str, config: dict[str, Any], steps: dict[str, Any]) -> list[str]:
    """What a setting or parameter may be, where that is a closed set; a file's name is the shell's to complete."""
    if key in ("from", "to"):
        return list(steps)
    if key in ("steps", "force"):
        return ["all" if key == "steps" else "true", *config.get("groups", {}), *steps]
    if key == "env_manager":
        return list(ENV_MANAGERS)
    if SETTINGS.get(key) is bool:
        return list(SWITCH)
    name, _, parameter = key.partition(".")
    declared = parameters(root, name, steps).get(parameter, {})
    return list(SWITCH) if str(declared.get("default")) in SWITCH else []


def parameters(root: Path, name: str, steps: dict[str, Any]) -> dict[str, Any]:
    """A step's parameters, as its MLproject declares them; none of what is no step here."""
    project = project_of(root, name, steps[name]) if name in steps else None
    return dict(project.parameters) if project else {}


def main(words: Sequence[str]) -> int:
    """Print them; nothing where config.yaml cannot be read, which is not the moment to say so."""
    root = ROOT
    if "--config-dir" in words[:-2]:
        root = Path(words[words.index("--config-dir") + 1]).resolve()
    with contextlib.suppress(RequestError, KeyError, AttributeError):
        for one in candidates(root, words):
            print(one)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [""]))
