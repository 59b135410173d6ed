"""The mistakes a user can make, worded for the user; anything else is a bug and keeps its stack trace."""

import difflib
from collections.abc import Iterable


class RequestError(Exception):
    """What was asked for cannot be done; nothing was started. Holds one sentence for each problem."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class StoreError(Exception):
    """The tracking store, or a disk, does not do its part, whatever was asked for: one sentence, and exit code 1."""


def unknown(what: str, name: str, valid: Iterable[str], where: str = "") -> str:
    """One sentence for a name that does not exist: the name, the nearest good one, all good ones."""
    valid = list(valid)
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]}?" if near else "."
    listed = ", ".join(valid) or "none"
    return f"unknown {what} {name!r}{f' in {where}' if where else ''}{hint} Valid: {listed}"
