"""Read YAML that a user has written: what is wrong with it is one sentence with the line, and soon, whatever it is."""

from pathlib import Path
from typing import Any

from pipeline.errors import RequestError
from pipeline.files import read_yaml

DEEPEST = 100  # levels
MOST = 100_000  # values, with those that aliases repeat
PLAIN_TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = {PLAIN_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq")} | {"!", None}


def read(file: Path, what: str) -> Any:
    """The content of a YAML file, called `what` in messages.

    Raises:
        RequestError: it cannot be read, is no YAML, or more than plain values: with the line, where there is one.
    """
    import yaml

    try:
        content = file.read_bytes()
    except OSError as error:
        raise RequestError(f"{what} cannot be read ({error.strerror})") from None
    for number, text in enumerate(content.split(b"\n"), 1):
        if b"\0" in text:
            raise RequestError(f"{what} line {number}: it holds a NUL byte, which no YAML file does; take it out")
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            raise RequestError(f"{what} line {number}: it is not UTF-8; save the file in that encoding") from None
    try:
        check(yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), what)
        return read_yaml(content)
    except yaml.MarkedYAMLError as error:
        raise RequestError(sentence(error, what, content)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise RequestError(f"{what} is not valid YAML ({' '.join(str(error).split())})") from None


def sentence(error: Any, what: str, content: bytes) -> str:
    """What YAML's parser says of a file, with the line."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{what}: {error.problem}"
    lines = content.splitlines()[mark.line : mark.line + 1]
    has_tab = any(b"\t" in line[: len(line) - len(line.lstrip())] for line in lines)
    return f"{what} line {mark.line + 1}: {error.problem}{'; indent with spaces, not tabs' if has_tab else ''}"


def check(events: Any, what: str) -> None:
    """Look through a document without building it, in time and memory that its length bounds.

    Raises:
        RequestError: it is too deep, too large with its aliases written out, circular, or has a tag of its own.
    """
    sizes: dict[str, int] = {}  # anchor -> values below it, aliases written out
    opened: list[tuple[str | None, int]] = []  # anchor and size so far of each block that is open
    for event in events:
        where = f"{what} line {event.start_mark.line + 1}"
        kind = type(event).__name__
        if kind in ("MappingEndEvent", "SequenceEndEvent"):
            anchor, size = opened.pop()
        elif kind == "AliasEvent":
            if any(anchor == event.anchor for anchor, _ in opened):
                raise RequestError(f"{where}: the alias *{event.anchor} stands inside of what it stands for")
            anchor, size = None, sizes.get(event.anchor, 0)
        elif kind in ("MappingStartEvent", "SequenceStartEvent", "ScalarEvent"):
            if event.tag not in PLAIN_TAGS:
                raise RequestError(f"{where}: the tag {event.tag.replace(PLAIN_TAG, '!!')} is not taken; write a value")
            anchor, size = event.anchor, 1
            if kind != "ScalarEvent":
                opened.append((anchor, size))
                if len(opened) > DEEPEST:
                    raise RequestError(f"{where}: more than {DEEPEST} levels, one in another")
                continue
        else:
            continue
        if anchor:
            sizes[anchor] = size
        if opened:
            opened[-1] = (opened[-1][0], opened[-1][1] + size)
        if size > MOST:
            raise RequestError(f"{where}: with its aliases written out it has more than {MOST} values")
