"""The one exception of a step that is meant for its user.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""


class StepError(Exception):
    """What was asked for cannot be done: one sentence with what is wrong, with which value, and what to do."""
