"""The one exception of a step that is meant for its user, and what it says of another one.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""


class StepError(Exception):
    """What was asked for cannot be done: one sentence with what is wrong, with which value, and what to do."""


def first_line(error: BaseException, most: int = 200) -> str:
    """The first line of what an exception says, else its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]
