"""Compose the configuration: config.yaml and the overrides, by Hydra."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.cli.arguments import hydra_arguments, raw_config
from pipeline.config import KINDS, SETTINGS, Request, parse
from pipeline.errors import RequestError, unknown
from pipeline.files import read_yaml
from pipeline.planning.graph import between


@dataclass(frozen=True)
class Composed:
    """A configuration as Hydra composed it."""

    text: str  # YAML, references and interpolations as they were written
    values: dict[str, Any]  # plain, interpolations resolved
    used: list[str]  # the top-level keys that it refers to itself
    overrides: tuple[str, ...]
    simple: bool = False  # made of config.yaml and the command line alone, and always the same

    def request(self) -> Request:
        """What it asks for; RequestError where something is wrong with it."""
        request = parse(self.values, self.used)
        selected = between(request.steps, request.selected, self.values.get("from", ""), self.values.get("to", ""))
        return replace(request, selected=selected, overrides=self.overrides, composed=self.text, simple=self.simple)


def compose(root: Path, arguments: list[str]) -> list[Composed]:
    """The configuration that `arguments` and `root`/config.yaml make; with --multirun several, with --cfg none.

    What they are for goes on outside of Hydra: a step is a fork of this process, and may use Hydra itself.

    Raises:
        RequestError: an override or config.yaml is wrong.
    """
    arguments = hydra_arguments(arguments, root)
    sys.argv[1:] = arguments
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and what users see is decided here

    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    composed: list[Composed] = []
    problems: list[str] = []

    def collect(config: Any) -> None:
        try:
            raw = OmegaConf.to_yaml(config)
            values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
            used = re.findall(r"\$\{(\w+)\}", raw)
            task = tuple(HydraConfig.get().overrides.task)
            composed.append(Composed(raw, dict(values), used, task, is_simple(HydraConfig.get(), root, task)))  # type: ignore[arg-type] # the top of a configuration has keys
        except OmegaConfBaseException as error:  # kept from Hydra, which would add lines of its own
            problems.append(in_a_sentence(error, root))

    with resolvers(root):
        try:
            hydra.main(config_path=str(root), config_name="config", version_base="1.3")(collect)()
        except (HydraException, OmegaConfBaseException) as error:
            raise RequestError(in_a_sentence(error, root)) from error
    if problems:
        raise RequestError(problems)
    return composed


def is_simple(hydra: Any, root: Path, overrides: tuple[str, ...]) -> bool:
    """Whether config.yaml and the overrides alone make the configuration, without files or resolvers that vary.

    References are no resolvers, and the journal looks at the environment's variables and the files that are named.
    """
    text = " ".join([(root / "config.yaml").read_text(encoding="utf-8"), *overrides])
    resolvers = re.findall(r"\$\{\s*([\w.]+)\s*:\s*([\w.]*)", text)
    known = all(name in KINDS or (name in ("oc.env", "yaml") and argument) for name, argument in resolvers)
    return known and all(choice.startswith("hydra/") for choice in hydra.runtime.choices)


@contextmanager
def resolvers(root: Path) -> Iterator[None]:
    """References stay as they are written until a step starts; `${yaml:FILE,KEY}` is what a file says of itself.

    The resolvers are taken away again: a step is a fork of this process, and may have resolvers of these names.
    """
    from omegaconf import OmegaConf

    for name in KINDS:
        OmegaConf.register_new_resolver(name, lambda *a, name=name: f"${{{name}:{','.join(a)}}}", replace=True)
    OmegaConf.register_new_resolver("yaml", lambda file, key: value_in(root / file, key), replace=True)
    try:
        yield
    finally:
        for name in (*KINDS, "yaml"):
            OmegaConf.clear_resolver(name)


def value_in(file: Path, key: str) -> str | int | float:
    """The value of a key at the top of a YAML file.

    Raises:
        RequestError: the file cannot be read, or has no such key, or no text or number there.
    """
    try:
        written = read_yaml(file.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise RequestError(f"config.yaml takes {key!r} from {file.name}, which cannot be read ({reason})") from None
    value = written.get(key) if isinstance(written, dict) else None
    if not isinstance(value, str | int | float):
        raise RequestError(f"config.yaml takes {key!r} from {file.name}, which has no text or number of that name")
    return value


def in_a_sentence(error: BaseException, root: Path) -> str:
    """Hydra's several lines as one."""
    lines = " ".join(str(error).split())
    if match := re.search(r"Could not override '([^']+)'", lines):
        keys = [key for key in {**raw_config(root), **SETTINGS} if key not in ("defaults", "hydra")]
        return unknown("key", match[1], keys, "the command line")
    if "Ambiguous value" in lines:
        return f"{lines.split('.')[0]}: put a list in brackets, as in 'steps=[a,b]', or text in quotes"
    not_parsed = ("no viable alternative", "mismatched input", "extraneous input", "token recognition")
    if any(words in lines for words in not_parsed):
        return (
            f"cannot read an override ({lines}); put values with special characters in quotes, as in \"data_url='…'\""
        )
    return lines
