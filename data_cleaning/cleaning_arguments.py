"""The command line of this step's entry points."""

import argparse
from typing import NoReturn

from csv_reading import CleaningError


class Parser(argparse.ArgumentParser):
    """Tells a wrong argument as this step tells all that is wrong with a request."""

    def error(self, message: str) -> NoReturn:
        raise CleaningError(message)


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"
