"""Compose the configuration: config.yaml and the overrides, by Hydra."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pipeline import credentials, yaml_reading
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
            unresolved = OmegaConf.to_container(config)
            if secrets := list(credentials.problems(unresolved, values)):
                problems.extend([*secrets, *stored_by_mlflow(arguments)])
                return
            written = (root / "config.yaml").read_text(encoding="utf-8")  # an override may replace the one reference
            used = re.findall(r"\$\{(\w+)\}", raw + written)
            task = tuple(HydraConfig.get().overrides.task)
            values = with_numbers_as_typed(values, unresolved, root, task)
            composed.append(Composed(raw, values, used, task, is_simple(HydraConfig.get(), root, task)))
        except OmegaConfBaseException as error:  # kept from Hydra, which would add lines of its own
            problems.append(in_a_sentence(error, root))

    with resolvers(root):
        try:
            call_with_configuration(collect, root, arguments)
        except yaml.MarkedYAMLError as error:  # keys that are there twice: the first reading lets them pass
            content = (root / "config.yaml").read_bytes()
            raise RequestError(yaml_reading.sentence(error, "config.yaml", content)) from error
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise RequestError(in_a_sentence(error, root)) from error
    if problems:
        raise RequestError(problems)
    return composed


def call_with_configuration(collect: Callable[[Any], None], root: Path, arguments: list[str]) -> None:
    """Have Hydra call `collect` with the configuration, as often as there are several.

    Its command line composes everything twice, in order to see whether there are: not where that is plain to see.

    Raises:
        HydraException, OmegaConfBaseException, ValueError, yaml.MarkedYAMLError: it cannot be composed.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    if not any(argument.startswith("-") or "hydra" in argument for argument in arguments):
        with hydra.initialize_config_dir(str(root), job_name="main", version_base="1.3"):
            config = hydra.compose("config", arguments, return_hydra_config=True)
        if config.hydra.mode in (None, RunMode.RUN):
            HydraConfig.instance().set_config(config)
            try:
                collect(OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"]))
            finally:
                HydraConfig.instance().cfg = None  # a step is a fork of this process, and may use Hydra itself
            return
    hydra.main(config_path=str(root), config_name="config", version_base="1.3")(collect)()


def stored_by_mlflow(arguments: list[str]) -> list[str]:
    """What to do about a secret that came through `mlflow run`, which has stored it before this program began."""
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    if not run_id or not any(map(credentials.found_in, arguments)):
        return []
    store = credentials.masked(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    erase = f"mlflow runs delete --run-id {run_id} && mlflow gc --run-ids {run_id} --backend-store-uri {store}"
    return [f"`mlflow run` has stored it with run {run_id} by now, and cannot change that; erase the run: {erase}"]


def with_numbers_as_typed(values: Any, unresolved: Any, root: Path, overrides: tuple[str, ...]) -> Any:
    """The configuration with steps' numbers in the form in which config.yaml has them: 1e5 is not 100000.0."""
    file = yaml.load((root / "config.yaml").read_bytes(), Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506
    overridden = {override.lstrip("+").partition("=")[0] for override in overrides}

    def typed(value: Any, raw: Any, written: Any, path: str, source: str) -> Any:
        """`path` is the value's, `source` where it is `written`; they differ where it is taken from elsewhere."""
        if isinstance(raw, str) and (match := re.fullmatch(r"\$\{([\w.]+)\}", raw)):
            source, written = match[1], file
            for key in source.split("."):
                written = entry(written, key)
        if isinstance(value, dict):
            return {
                key: typed(one, entry(raw, key), entry(written, key), f"{path}.{key}", f"{source}.{key}")
                for key, one in value.items()
            }
        if isinstance(value, list) and isinstance(written, list) and len(value) == len(written):
            return [typed(one, None, text, path, source) for one, text in zip(value, written, strict=True)]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_given = re.match(r"pipeline\.[^.]+\.(parameters|env)\.", path)
        # YAML reads a time, 1:30:00, as so many seconds.
        is_time = "backend_config." in path and isinstance(written, str) and ":" in written
        if is_number and (is_given or is_time) and source not in overridden and isinstance(written, str):
            return written if reads_as(written, value) else value
        return value

    return {key: typed(one, entry(unresolved, key), entry(file, key), key, key) for key, one in values.items()}


def entry(block: Any, key: Any) -> Any:
    """What a block has under a key; None where it is no block, or has no such key."""
    return block.get(key) if isinstance(block, dict) else None


def reads_as(text: str, number: float) -> bool:
    """Whether a scalar of YAML is this number."""
    try:
        return float(text) == number
    except ValueError:
        return bool(read_yaml(text) == number)


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
    written = yaml_reading.read(file, f"{file.name}, from which config.yaml takes {key!r},")
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
