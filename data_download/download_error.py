"""What went wrong with a download, and how what others sent is shown in it."""

from step_error import StepError


class DownloadError(StepError):
    """The file could not be downloaded, or is not what was asked for; the text is meant for the user."""


def printable(text: str, length: int = 200) -> str:
    """Text of others' making for a message: one line without control characters, at most `length` long."""
    kept = "".join(character if character.isprintable() else " " for character in text[: length + 1]).strip()
    return kept if len(kept) <= length else kept[: length - 1] + "…"


def root_cause(error: BaseException) -> str:
    """The innermost cause in a few words: the outer ones only repeat the address."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def too_large(data_url: str, max_bytes: int) -> str:
    return f"{data_url} is larger than max_bytes={max_bytes}; raise max_bytes if that size is meant"


def out_of_time(data_url: str, timeout: float) -> str:
    return f"{data_url} was not downloaded within timeout={timeout:g} s; try again, or raise timeout"
