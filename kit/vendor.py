"""Copy what steps share into each step that uses it: `make kit`.

A step is a project of its own: it may be alone on another machine, and in an environment that knows nothing of this
folder. So each has a copy, byte for byte, of what it uses (tests/test_kit.py compares); what is edited is here.
"""

import shutil
import sys
from pathlib import Path

KIT = Path(__file__).resolve().parent
TABLE = ("step_error", "step", "declaration")
MODEL = (*TABLE, "predictions", "saved_model")
USED_BY = {
    "data_download": ("step_error", "step"),
    "data_cleaning": (*TABLE, "row_checks"),
    "training": (*TABLE, "predictions", "holdout", "saved_model"),
    "evaluation": (*MODEL, "holdout"),
    "inference": (*MODEL, "row_checks"),
    "monitoring": MODEL,
}


def copies() -> dict[Path, Path]:
    """Each copy, with its original."""
    return {KIT.parent / step / f"{name}.py": KIT / f"{name}.py" for step, names in USED_BY.items() for name in names}


def main() -> int:
    for copy, original in copies().items():
        if not copy.is_file() or copy.read_bytes() != original.read_bytes():
            shutil.copyfile(original, copy)
            print(f"{copy.relative_to(KIT.parent)} is as {original.relative_to(KIT.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
