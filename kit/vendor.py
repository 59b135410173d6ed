"""Copy what steps share into each step that uses it, and into the wings of the orchestrator: `make kit`.

A step is a project of its own: it may be alone on another machine, and in an environment that knows nothing of this
folder. So each has a copy, byte for byte, of what it uses (tests/kit/test_kit.py compares); what is edited is here.
Which files a step uses shows in its folder: those of the same name, and those that they import.
`touch STEP/holdout.py`, then `make kit`, adds one.
"""

import re
import shutil
import sys
from pathlib import Path

KIT = Path(__file__).resolve().parent


def copies() -> dict[Path, Path]:
    """Each copy, with its original."""
    originals = {path.stem: path for path in sorted(KIT.glob("*.py")) if path != Path(__file__).resolve()}
    ours = KIT.parent / "pipeline"  # which imports no step either
    projects = [path for place in ("*", "examples/*/*") for path in KIT.parent.glob(f"{place}/MLproject")]
    users = [*sorted(path.parent for path in projects), ours, *sorted(ours.glob("*/"))]
    found: dict[Path, Path] = {}
    for user in users:
        names = [name for name, one in originals.items() if (user / one.name).is_file()]
        for name in names:  # which grows
            found[user / f"{name}.py"] = originals[name]
            imported = re.findall(
                r"^ *(?:from|import) (\w+)", originals[name].read_text(encoding="utf-8"), re.MULTILINE
            )
            names += [one for one in imported if one in originals and one not in names]
    return found


def main() -> int:
    for copy, original in copies().items():
        if not copy.is_file() or copy.read_bytes() != original.read_bytes():
            shutil.copyfile(original, copy)
            print(f"{copy.relative_to(KIT.parent)} is as {original.relative_to(KIT.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
