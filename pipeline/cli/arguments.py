"""From what was typed to Hydra's own grammar, and back to a command that can be typed again."""

import functools
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline import yaml_reading
from pipeline.config import SETTINGS, STEP_KEYS
from pipeline.errors import RequestError, unknown

MULTIRUN = {"--multirun", "-m"}
# What a step's block need not have yet to be given on the command line.
STEP_SETTING = re.compile(rf"pipeline\.([^.]+)\.({'|'.join(STEP_KEYS)})(\.|$)")
OVERRIDE = re.compile(r"(?P<prefix>[+~]*)(?P<key>[\w.@/-]+)(?P<rest>=.*)?", re.DOTALL)


def hydra_arguments(arguments: Iterable[str], root: Path) -> list[str]:
    """The command line in Hydra's own grammar.

    `mlflow run` hands over `--steps S --data_url D … --overrides "A=1 B=2"`, further -P NAME=VALUE appended in the
    same form. `STEP.PARAMETER=value` is short for `pipeline.STEP.parameters.PARAMETER=value`.

    Raises:
        RequestError: an override is for a step that is not there, or the form of `mlflow run` is not kept to.
    """
    arguments = list(arguments)
    if arguments[:1] == ["--steps"]:
        arguments = overrides_from_mlflow(arguments)
    sweep = bool(MULTIRUN & set(arguments))
    written = raw_config(root)
    blocks = written.get("pipeline")
    steps = list(blocks) if isinstance(blocks, dict) else []
    added = [key for key in SETTINGS if key not in written]
    return [a if a.startswith("-") else hydra_override(a, steps, added, sweep) for a in arguments]


def overrides_from_mlflow(arguments: list[str]) -> list[str]:
    """The overrides in `--NAME VALUE` pairs, as the entry point's command has them.

    Raises:
        RequestError: an argument is left over, or `overrides` has an open quote.
    """
    overrides: list[str] = []
    for name, value in mlflow_pairs(arguments):
        if name == "overrides":
            try:
                overrides += shlex.split(value)
            except ValueError as error:
                raise RequestError(f"overrides {value!r} cannot be read ({error}); close the quotes") from None
        elif "." in name:
            overrides.append(f"{name}={quoted(value)}" if value else f"{name}=")
        elif value:
            overrides.append(f"{name}={quoted_setting(name, value)}")
    return overrides


def mlflow_pairs(arguments: list[str]) -> list[tuple[str, str]]:
    """The names, without their dashes, and values of `--NAME VALUE --NAME VALUE …`.

    Raises:
        RequestError: an argument is no name, or has no value.
    """
    pairs = []
    for place in range(0, len(arguments), 2):
        name, value = arguments[place], arguments[place + 1 : place + 2]
        if not name.startswith("--") or not value:
            raise RequestError(
                f"{name!r} is not one of the pairs `--NAME VALUE` that begin with --steps; "
                "write all arguments in this form, or all as NAME=VALUE"
            )
        pairs.append((name.removeprefix("--"), value[0]))
    return pairs


def quoted_setting(name: str, value: str) -> str:
    """Text for Hydra: quoted, so that `=`, `,`, `#` and braces in it mean nothing; switches and numbers as they are."""
    if SETTINGS.get(name) in (bool, int) or name == "force":
        return value
    return quoted(value)


def literal(value: str) -> str:
    """Text that OmegaConf leaves as it is: what is typed is no interpolation. (References are worked out later.)"""
    return re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", value)


def quoted(value: str) -> str:
    """Any text as a quoted value in Hydra's grammar."""
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


@functools.cache
def raw_config(root: Path) -> dict[str, Any]:
    """config.yaml before Hydra composes it.

    Raises:
        RequestError: it cannot be read, or is no block of keys.
    """
    written = yaml_reading.read(root / "config.yaml", "config.yaml")
    if not isinstance(written, dict):
        raise RequestError("config.yaml is no block of keys: give it `pipeline:` with at least one step")
    return written


def hydra_override(override: str, steps: list[str], added: list[str], sweep: bool) -> str:
    """An override with `STEP.PARAMETER` written out, and one of the keys that config.yaml has not as `added` to it.

    Raises:
        RequestError: there is no such step.
    """
    match = OVERRIDE.fullmatch(override)
    if not match:
        return override
    key, rest = match["key"], match["rest"] or ""
    head, _, parameter = key.partition(".")
    if rest and head != "hydra":
        is_text = head not in SETTINGS or bool(re.match(r"pipeline\.[^.]+\.(parameters|env)\.", key))
        rest = f"={as_typed(rest[1:], is_text, sweep)}"
    if key == "steps" and not sweep and "," in rest and not rest.startswith(("=[", "='", '="')):
        rest = f"={quoted(rest[1:])}"
    setting = STEP_SETTING.match(key)
    is_added = key in added or head == "backend_config" or (setting is not None and setting[1] in steps)
    override = f"{match['prefix'] or '++' * is_added}{key}{rest}"
    if not parameter or head in ("pipeline", "hydra", "backend_config") or "/" in key or "@" in key:
        return override
    if head not in steps:
        raise RequestError(unknown("step", head, steps, override))
    prefix = match["prefix"] if "~" in match["prefix"] else "++"
    return f"{prefix}pipeline.{head}.parameters.{parameter}{rest}"


def as_typed(value: str, is_text: bool, sweep: bool) -> str:
    """A value in Hydra's grammar that is no interpolation and, where it `is_text`, no number that reads otherwise.

    In a sweep the commas outside of references stand between values.
    """
    if value.startswith(("'", '"', "[", "{")):
        return literal(value)
    parts = re.split(r",(?![^{}]*\})", value) if sweep else [value]
    odd = ["${" in part or (is_text and is_rewritten(part)) for part in parts]
    return ",".join(quoted(literal(part)) if quote else part for part, quote in zip(parts, odd, strict=True))


def is_rewritten(text: str) -> bool:
    """Whether a text is a number that is written otherwise when it was read as one: 1e5, 100_000, 0.50."""
    try:
        number = float(text)
    except ValueError:
        return False
    return text not in (repr(number), f"{number:.0f}")


def rerun_command(arguments: Sequence[str], env_manager: str, steps: Iterable[str]) -> list[str]:
    """The command that does `steps` of what `arguments` asked for, in the form that was used."""
    names = ",".join(steps)
    if list(arguments[:1]) == ["--steps"]:
        given = [f"{name}={value}" for name, value in mlflow_pairs(list(arguments)) if value and name != "steps"]
        parameters = [part for pair in [f"steps={names}", *given] for part in ("-P", pair)]
        return ["mlflow", "run", ".", "--env-manager", env_manager, *parameters]
    return ["python", "main.py", f"steps=[{names}]", *(a for a in arguments if not a.startswith("steps="))]
