"""The graph that the references make."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from pipeline.config import Step
from pipeline.errors import RequestError, unknown


def order(steps: Mapping[str, Step]) -> list[str]:
    """The steps' names, each after all that it reads from; otherwise as the configuration lists them.

    Raises:
        RequestError: the references go round in a circle, which is named step by step.
    """
    sorter = TopologicalSorter({name: step.upstream() for name, step in steps.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise RequestError(f"the steps go round in a circle: {circle}; take one of these references out") from None
    listed = {name: place for place, name in enumerate(steps)}
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=listed.__getitem__)
        ordered += ready
        sorter.done(*ready)
    return ordered


def descendants(steps: Mapping[str, Step], names: Iterable[str]) -> set[str]:
    """All steps that need one of `names`, directly or through others."""
    found: set[str] = set()
    wanted = set(names)
    for name in order(steps):
        if not wanted.isdisjoint(steps[name].upstream()):
            found.add(name)
            wanted.add(name)
    return found


def ancestors(steps: Mapping[str, Step], name: str) -> set[str]:
    """All steps that a step needs, directly or through others."""
    found: set[str] = set()
    left = [name]
    while left:
        new = set(steps[left.pop()].upstream()) - found
        found |= new
        left += new
    return found


def between(steps: Mapping[str, Step], selected: Iterable[str], first: str, last: str) -> tuple[str, ...]:
    """Of the selected steps, those from `first` on and up to `last`; "" for no such end.

    Raises:
        RequestError: one of them is no step, or none is left.
    """
    chosen = list(selected)
    if problems := [
        unknown("step", name, steps, key) for key, name in (("from", first), ("to", last)) if name and name not in steps
    ]:
        raise RequestError(problems)
    if first:
        after = descendants(steps, [first]) | {first}
        chosen = [name for name in chosen if name in after]
    if last:
        before = ancestors(steps, last) | {last}
        chosen = [name for name in chosen if name in before]
    if not chosen and (first or last):
        raise RequestError(
            f"no step that was asked for lies between from={first} and to={last}; see python main.py graph"
        )
    return tuple(chosen)
