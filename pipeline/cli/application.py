"""The front door: `python main.py …` as a Hydra application, and the same through `mlflow run`."""

import atexit
import contextlib
import functools
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import KINDS, SETTINGS, listed
from pipeline.errors import RequestError, unknown
from pipeline.execution.launcher import Launcher, cool_down
from pipeline.planning.fingerprint import read_yaml

DONE, STEP_FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
MULTIRUN = {"--multirun", "-m"}
OVERRIDE = re.compile(r"(?P<prefix>[+~]*)(?P<key>[\w.@/-]+)(?P<rest>=.*)?", re.DOTALL)

HELP = """\
The pipeline: compose the configuration, plan, run each step with mlflow.run, report.

  python main.py                                      all steps of config.yaml
  python main.py 'steps=[training,inference]'         some of them, in any order
  python main.py training.model=random_forest         with a parameter of a step changed
  python main.py dry_run=true                         what would run, and why
  python main.py force=true verbose=true              everything again, with what the steps write
  python main.py --multirun training.seed=0,1,2       each value in turn, and a table
  python main.py --cfg job                            the configuration as composed
  mlflow run . -P steps=training -P overrides="training.seed=1"

Exit codes: 0 done, 1 a step failed, 2 the request was wrong and nothing was started.

config.yaml as composed:
"""


@dataclass(frozen=True)
class Composed:
    """A configuration as Hydra composed it."""

    text: str  # YAML, references and interpolations as they were written
    values: dict[str, Any]  # plain, interpolations resolved
    used: list[str]  # the top-level keys that it refers to itself
    overrides: tuple[str, ...]


def application(task: Callable[[Composed, Any, float], int], root: Path, arguments: list[str]) -> int:
    """Run `task` with the configuration that `arguments` and `root`/config.yaml make; returns the exit code.

    With --multirun, `task` is run for each combination, and all get the same Sweep (otherwise None). The last argument
    is when it began, in seconds since 1970: imports and all.
    """
    began = time.time()
    # Nothing of ours tells anybody what it does, unless asked to; and what has a thread cannot be forked from.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    codes: list[int] = []
    refused: list[RequestError] = []
    sweep = None

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the runner takes over
    try:
        sys.argv[1:] = hydra_arguments(arguments, root)
        if {"--help", "-h"} & set(sys.argv):
            print(HELP)
            # Hydra's own help looks for configurations in every folder below config.yaml's, environments included.
            sys.argv[1:] = ["--cfg", "job", *(a for a in sys.argv[1:] if a not in ("--help", "-h"))]
        if MULTIRUN & set(sys.argv):
            from pipeline.reporting.sweep import Sweep

            sweep = Sweep()
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and what users see is decided here
        import_ahead(sys.argv[1:], root)
        for config in compose(root):
            if sweep:
                sweep.next(config.overrides)
            try:
                codes.append(task(config, sweep, began))
            except RequestError as error:  # the other combinations are run nevertheless
                refused.append(error)
            began = time.time()
        if sweep:
            print(sweep.close())
    except RequestError as error:
        refused.append(error)
    except KeyboardInterrupt:
        print("interrupted before anything was started", file=sys.stderr)
        return INTERRUPTED
    finally:
        cool_down()
    for problem in dict.fromkeys(problem for error in refused for problem in error.problems):
        print(f"error: {problem}", file=sys.stderr)
    return max([*codes, *[REFUSED] * bool(refused)], default=DONE)


def leave(code: int) -> None:
    """End the process with this exit code, without taking apart all that was imported: that takes half a second."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)


def compose(root: Path) -> list[Composed]:
    """The configuration that Hydra composes; with --multirun several, with --cfg none.

    What they are for goes on outside of Hydra: a step is a fork of this process, and may use Hydra itself.

    Raises:
        RequestError: an override or config.yaml is wrong.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for name in KINDS:
        # References stay as they are written until a step starts.
        OmegaConf.register_new_resolver(name, lambda *a, name=name: f"${{{name}:{','.join(a)}}}", replace=True)
    composed, problems = [], []

    def collect(config: Any) -> None:
        try:
            composed.append(resolved(config))
        except OmegaConfBaseException as error:  # kept from Hydra, which would add lines of its own
            problems.append(in_a_sentence(error, root))

    def resolved(config: Any) -> Composed:
        raw = yaml.safe_dump(OmegaConf.to_container(config, resolve=False))
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        used = re.findall(r"\$\{(\w+)\}", raw)
        return Composed(OmegaConf.to_yaml(config), values, used, tuple(HydraConfig.get().overrides.task))

    try:
        hydra.main(config_path=str(root), config_name="config", version_base="1.3")(collect)()
    except (HydraException, OmegaConfBaseException) as error:
        raise RequestError(in_a_sentence(error, root)) from error
    finally:
        for name in KINDS:  # a step is a fork of this process, and may have resolvers of these names
            OmegaConf.clear_resolver(name)
    if problems:
        raise RequestError(problems)
    return composed


def hydra_arguments(arguments: Iterable[str], root: Path) -> list[str]:
    """The command line in Hydra's own grammar.

    `mlflow run` hands over `--steps S --data_url D … --overrides "A=1 B=2"`, further -P NAME=VALUE appended in the
    same form. `STEP.PARAMETER=value` is short for `pipeline.STEP.parameters.PARAMETER=value`.
    """
    arguments = list(arguments)
    if arguments[:1] == ["--steps"]:
        arguments = from_mlflow(arguments)
    sweep = bool(MULTIRUN & set(arguments))
    blocks = as_written(root).get("pipeline")
    steps = list(blocks) if isinstance(blocks, dict) else []
    return [rewritten(a, steps, sweep) if not a.startswith("-") else a for a in arguments]


def from_mlflow(arguments: list[str]) -> list[str]:
    given = []
    for name, value in zip(arguments[::2], arguments[1::2], strict=False):
        name = name.removeprefix("--")
        if name == "overrides":
            try:
                given += shlex.split(value)
            except ValueError as error:
                raise RequestError(f"overrides {value!r} cannot be read ({error}); close the quotes") from None
        elif "." in name:
            given.append(f"{name}={quoted(value)}" if value else f"{name}=")
        elif value:
            given.append(f"{name}={typed(name, value)}")
    return given


def typed(name: str, value: str) -> str:
    """Text for Hydra: quoted, so that `=`, `,`, `#` and braces in it mean nothing; switches and numbers as they are."""
    if SETTINGS.get(name) in (bool, int) or name == "force":
        return value
    return quoted(value.replace("${", r"\${"))


def quoted(value: str) -> str:
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def import_ahead(arguments: list[str], root: Path) -> None:
    """Import what steps need before anything else is done, unless the request looks as if no step will run.

    Whatever is guessed here, the answer is the same: a mistake is found a second later, or a step starts later.
    """
    odd = (AttributeError, KeyError, OSError, TypeError)  # the parser will say what is odd in config.yaml
    with contextlib.suppress(*odd):
        written = as_written(root)
        settings = {key: written.get(key) for key in ("dry_run", "start_method", "env_manager")}
        for argument in arguments:
            key, _, value = argument.partition("=")
            if argument not in MULTIRUN and not is_known(key, value, written, root):
                return
            settings[key] = value.strip("'\"")
        launcher = Launcher(settings["start_method"] or "forkserver")
        if settings["dry_run"] in ("true", True) or not launcher.warm:
            return
        # `mlflow run` starts us with the Python of the root's environment, if it made one: the steps have theirs.
        inherited = settings["env_manager"] in (None, "inherit") and not Path(sys.prefix).name.startswith("mlflow-")
        if inherited or settings["env_manager"] == "local":
            steps = written["pipeline"].values()
            preload = [m for step in steps if step for m in listed(step.get("preload"))]
            launcher.import_ahead(listed(written.get("preload")), preload)
        else:
            launcher.import_ahead()


def is_known(key: str, value: str, written: Mapping[str, Any], root: Path) -> bool:
    """Whether an override looks right: a key of config.yaml, steps that are there, a parameter that a step has."""
    steps = written.get("pipeline") or {}
    if match := re.fullmatch(r"[+~]*pipeline\.(\w+)\.parameters\.(\w+)", key):
        file = root / match[1] / "MLproject"
        return match[2] in ((steps.get(match[1]) or {}).get("parameters") or {}) or (
            file.is_file() and f" {match[2]}:" in file.read_text(errors="replace")
        )
    if key == "steps":
        return {"all", *steps, *(written.get("groups") or {})} >= set(re.findall(r"[\w-]+", value))
    return key in written or key in SETTINGS


@functools.cache
def as_written(root: Path) -> dict[str, Any]:
    """config.yaml before Hydra composes it; what is wrong with it is for Hydra and the parser to say."""
    try:
        written = read_yaml((root / "config.yaml").read_bytes())
    except (OSError, yaml.YAMLError):
        return {}
    return written if isinstance(written, dict) else {}


def rewritten(override: str, steps: list[str], sweep: bool) -> str:
    match = OVERRIDE.fullmatch(override)
    if not match:
        return override
    key, rest = match["key"], match["rest"] or ""
    if key == "steps" and not sweep and "," in rest and not rest.startswith(("=[", "='", '="')):
        return f"steps={quoted(rest[1:])}"
    head, _, parameter = key.partition(".")
    if not parameter or head in ("pipeline", "hydra") or "/" in key or "@" in key:
        return override
    if head not in steps:
        raise RequestError(unknown("step", head, steps, override))
    prefix = match["prefix"] if "~" in match["prefix"] else "++"
    return f"{prefix}pipeline.{head}.parameters.{parameter}{rest}"


def in_a_sentence(error: BaseException, root: Path) -> str:
    """Hydra's several lines as one."""
    lines = " ".join(str(error).split())
    if match := re.search(r"Could not override '([^']+)'", lines):
        keys = {**as_written(root), **SETTINGS}
        keys.pop("defaults", None), keys.pop("hydra", None)
        return unknown("key", match[1], keys, "the command line")
    if "Ambiguous value" in lines:
        return f"{lines.split('.')[0]}: put a list in brackets, as in 'steps=[a,b]', or text in quotes"
    if (
        "no viable alternative" in lines
        or "mismatched input" in lines
        or "extraneous input" in lines
        or "token recognition" in lines
    ):
        return (
            f"cannot read an override ({lines}); put values with special characters in quotes, as in \"data_url='…'\""
        )
    return lines


def again(env_manager: str, left: Iterable[str], arguments: Iterable[str]) -> list[str]:
    """The command that does what is left of what `arguments` asked for, in the form that was used."""
    arguments = list(arguments)
    steps = ",".join(left)
    if arguments[:1] == ["--steps"]:
        pairs: Mapping[str, str] = dict(zip(arguments[::2], arguments[1::2], strict=False))
        given = [f"{name[2:]}={value}" for name, value in pairs.items() if value and name != "--steps"]
        parameters = [part for pair in [f"steps={steps}", *given] for part in ("-P", pair)]
        return ["mlflow", "run", ".", "--env-manager", env_manager, *parameters]
    return ["python", "main.py", f"steps=[{steps}]", *(a for a in arguments if not a.startswith("steps="))]
