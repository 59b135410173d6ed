"""config.yaml as typed values: which steps there are, their parameters, and the references between them."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import RequestError, unknown

ENV_MANAGERS = ("inherit", "local", "uv", "virtualenv", "conda")
CLUSTERS = ("kubernetes", "slurm")  # the backends of ours that are on other machines
OWN_BACKENDS = ("local", *CLUSTERS)  # where a step runs is all that they decide, so that it does not count for reuse
KINDS = ("artifact", "metric", "model")  # of references
REFERENCE = re.compile(rf"\$\{{({'|'.join(KINDS)}):([^}}]*)\}}")


@dataclass(frozen=True)
class Reference:
    """A step's output named in another's parameter.

    `${artifact:STEP,PATH}`, `${metric:STEP,NAME}`, and `${model:NAME@ALIAS,STEP,PATH}`: the registered model
    version that the alias means when the step starts or, as long as nothing carries the alias, STEP's artifact.
    """

    kind: str
    step: str
    name: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.step}'s {'metric ' if self.kind == 'metric' else ''}{self.name}"


@dataclass(frozen=True)
class Step:
    """One block of `pipeline:`; `parameters` are the entry point's, the rest is how to run it."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    uri: str = ""  # a folder or a Git URI; default: the folder of its name
    version: str = ""  # of a Git URI: a branch, tag or commit
    entry_point: str = "main"
    after: tuple[str, ...] = ()  # order without data
    when: str = ""  # a number or a metric reference: zero skips the step
    if_skipped: str = "skip"  # a step this one reads was skipped: `skip` too, or use its `latest` good result
    cache: bool = True
    retries: int = 0
    retry_pause: float = 1.0  # seconds before the first retry, doubled each time
    timeout: float = 0.0  # seconds, 0: none
    env: Mapping[str, str] = field(default_factory=dict)  # environment variables; they count like parameters
    pass_env: tuple[str, ...] = ()  # names (with *) of variables that are handed on, and do not count
    env_manager: str = "inherit"
    toolchain: tuple[str, ...] = ()  # programs that it is compiled or run by; their versions count for reuse
    backend: str = "local"
    backend_config: Mapping[str, Any] = field(default_factory=dict)
    summary_metrics: tuple[str, ...] = ()  # the metrics that the summary shows
    manual: bool = False  # `all` leaves it out: it runs when it, or a group with it, is named

    @property
    def is_remote(self) -> bool:
        """Whether it runs on another machine."""
        return self.backend != "local"

    def references(self) -> Iterator[tuple[str, Reference]]:
        """Each reference of this step with the parameter (or `when`) that holds it."""
        for key, text in [*self.parameters.items(), ("when", self.when)]:
            for reference in references(text):
                yield key, reference

    def upstream(self) -> list[str]:
        """The steps that must be settled before this one, each once, in the order they are named."""
        return list(dict.fromkeys([r.step for _, r in self.references()] + list(self.after)))


@dataclass(frozen=True)
class Request:
    """Everything that was asked for: the graph, and what to do with it this time."""

    steps: Mapping[str, Step]
    selected: tuple[str, ...]
    env_manager: str = "inherit"
    max_parallel: int = 0  # 0: one for each core
    max_parallel_remote: int = 100  # 0: as many as are ready
    force: tuple[str, ...] = ()
    dry_run: bool = False
    verbose: bool = False
    pass_env: tuple[str, ...] = ()  # as of a step, for all of them
    start_method: str = "forkserver"
    journal: bool = True  # answer from the journal where nothing changed
    # Of artifacts elsewhere, before they are reused: as the store lists them, or `full`, their content.
    verify: str = "size"
    outputs: tuple[Reference, ...] = ()  # files that are copied to outputs/ after a run
    sweep_metric: str = ""
    # The runs that steps which are not selected stand for, where that is not their latest good one; "": skipped.
    upstream_runs: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()  # as Hydra has them, for people
    composed: str = ""  # the configuration as YAML, for the record
    simple: bool = False  # made of config.yaml and the command line alone: the journal may answer for it


SETTINGS = {
    # key of config.yaml -> its type
    "pipeline": dict,
    "groups": dict,  # name -> the steps that it stands for
    "steps": (str, list),
    "from": str,  # of these steps, those from this one on
    "to": str,  # and up to that one
    "env_manager": str,
    "max_parallel": int,
    "max_parallel_remote": int,
    "backend": str,
    "backend_config": dict,
    "force": (bool, str, list),
    "dry_run": bool,
    "verbose": bool,
    "pass_env": list,
    "start_method": str,
    "journal": bool,
    "verify": str,
    "outputs": list,
    "sweep_metric": str,
}
STEP_KEYS = ("extends", *(f.name for f in dataclasses.fields(Step) if f.name != "name"))
# What a step has in common with the one that it `extends`: what it does and how it runs, not when.
NOT_INHERITED = {"extends", "after", "when", "if_skipped", "manual"}


def references(text: str) -> list[Reference]:
    """The references in a parameter's text, in order; malformed ones raise RequestError."""
    found = []
    for match in REFERENCE.finditer(text):
        parts = [part.strip() for part in match[2].split(",")]
        count = 3 if match[1] == "model" else 2
        if len(parts) != count or not all(parts):
            form = (
                "NAME@ALIAS,STEP,PATH"
                if match[1] == "model"
                else "STEP,PATH"
                if match[1] == "artifact"
                else "STEP,NAME"
            )
            raise RequestError(f"the reference {match[0]} is not of the form ${{{match[1]}:{form}}}")
        found.append(Reference(match[1], parts[-2], parts[-1], parts[0] if count == 3 else ""))
    return found


def parse(config: Mapping[str, Any], used: Iterable[str] = ()) -> Request:
    """The request in a composed configuration; `used` are further top-level keys that it refers to.

    Raises:
        RequestError: all that is wrong with keys, types, names and references, at once.
    """
    problems: list[str] = []
    for key, value in config.items():
        if key not in SETTINGS:
            if key not in used:
                problems.append(unknown("key", key, SETTINGS, "config.yaml"))
        elif not has_type(value, SETTINGS[key]):
            problems.append(f"{key}={value!r} in config.yaml is not {kind(SETTINGS[key])}")
    blocks = config.get("pipeline")
    if not blocks or not isinstance(blocks, Mapping):
        raise RequestError([*problems, "config.yaml names no steps: give it a block `pipeline:` with at least one"])
    blocks = with_backend(extended(blocks, problems), config)
    problems += [
        f"the step's name {name!r} in config.yaml is not made of letters, digits, spaces, `.`, `-` and `_` alone"
        for name in blocks
        if not (isinstance(name, str) and re.fullmatch(r"\w[\w .-]*", name))
    ]
    steps = {name: parse_step(name, block, problems) for name, block in blocks.items()}
    if problems:
        raise RequestError(problems)

    for step in steps.values():
        for upstream in step.upstream():
            if upstream not in steps:
                problems.append(unknown("step", upstream, steps, f"pipeline.{step.name}"))
    groups = parse_groups(config.get("groups") or {}, steps, problems)
    selected = select(config.get("steps", "all"), steps, groups, problems)
    force = config.get("force", False)
    force = (selected if force else ()) if isinstance(force, bool) else select(force, steps, groups, problems)
    outputs = tuple(r for text in config.get("outputs", ()) for r in references(str(text)))
    problems += [unknown("step", r.step, steps, "outputs") for r in outputs if r.step not in steps]
    one_of("env_manager", config.get("env_manager", "inherit"), ENV_MANAGERS, problems)
    one_of("start_method", config.get("start_method", "forkserver"), ("forkserver", "spawn"), problems)
    one_of("verify", config.get("verify", "size"), ("size", "full"), problems)
    for key, zero in (("max_parallel", "one for each core"), ("max_parallel_remote", "as many as are ready")):
        if config.get(key, 0) < 0:
            problems.append(f"{key}={config[key]} is negative; 0 means {zero}")
    if problems:
        raise RequestError(problems)
    plain = (
        "env_manager", "max_parallel", "max_parallel_remote", "dry_run", "verbose", "start_method", "journal", "verify",
        "sweep_metric",
    )  # fmt: skip
    return Request(
        steps=steps,
        selected=selected,
        force=force,
        outputs=outputs,
        pass_env=tuple(map(str, config.get("pass_env", ()))),
        **{key: config[key] for key in plain if key in config},
    )


def extended(blocks: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The blocks with what they inherit by `extends: STEP` filled in; parameters one by one."""
    complete: dict[str, Any] = {}

    def complete_block(name: str, chain: tuple[str, ...]) -> Any:
        block = blocks[name]
        base = block.get("extends") if isinstance(block, Mapping) else None
        if name in complete or base is None:
            return complete.setdefault(name, block)
        if base not in blocks:
            problems.append(unknown("step", str(base), blocks, f"pipeline.{name}.extends"))
        elif base in (*chain, name):
            problems.append(f"pipeline.{name}.extends goes round in a circle: {' -> '.join((*chain, name, base))}")
        elif not isinstance(inherited := complete_block(base, (*chain, name)) or {}, Mapping):
            pass  # whoever parses that block says what is wrong with it
        else:
            kept = {key: value for key, value in inherited.items() if key not in NOT_INHERITED}
            own = {key: value for key, value in block.items() if key != "extends"}
            merged = {"uri": base, **kept, **own}
            if isinstance(kept.get("parameters"), Mapping) and isinstance(own.get("parameters") or {}, Mapping):
                merged["parameters"] = {**kept["parameters"], **(own.get("parameters") or {})}
            return complete.setdefault(name, merged)
        return complete.setdefault(name, {key: value for key, value in block.items() if key != "extends"})

    return {name: complete_block(name, ()) for name in blocks}


def with_backend(blocks: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The blocks with the backend that all steps have, as far as theirs say nothing else.

    The common backend_config is that of all steps that do not run on this machine.
    """
    backend, common = config.get("backend") or "local", config.get("backend_config")
    complete = {}
    for name, block in blocks.items():
        complete[name] = block
        if isinstance(block, Mapping | None):
            complete[name] = block = {**(block or {})}
            block["backend"] = block.get("backend") or backend
            own = block.get("backend_config") or {}
            if block["backend"] != "local" and isinstance(common, Mapping) and isinstance(own, Mapping):
                block["backend_config"] = {**common, **own}
    return complete


def parse_step(name: str, block: Any, problems: list[str]) -> Step:
    """A step's block; what is wrong with it is added to `problems`."""
    if block is None:
        block = {}
    if not isinstance(block, Mapping):
        problems.append(f"pipeline.{name} is {block!r}, not a block of keys; valid keys: {', '.join(STEP_KEYS)}")
        return Step(name)
    values: dict[str, Any] = {}
    for key, value in block.items():
        if key not in STEP_KEYS:
            problems.append(unknown("key", key, STEP_KEYS, f"pipeline.{name}"))
            continue
        if value is None:
            continue
        default = getattr(Step(name), key)
        if isinstance(default, tuple) and isinstance(value, str):
            value = [value]
        if key == "when" and isinstance(value, bool | int | float):
            value = text(value)
        wanted = {tuple: list, float: (int, float)}.get(
            type(default), Mapping if key in ("parameters", "env", "backend_config") else type(default)
        )
        if not has_type(value, wanted):
            problems.append(f"pipeline.{name}.{key}={value!r} is not {kind(wanted)}")
            continue
        values[key] = tuple(map(str, value)) if isinstance(default, tuple) else value
    if "env" in values:
        values["env"] = {name: text(value) for name, value in values["env"].items() if value is not None}
    if "parameters" in values:
        values["parameters"] = dict(flatten(values["parameters"]))
    for key in ("retries", "retry_pause", "timeout"):
        if values.get(key, 0) < 0:
            problems.append(f"pipeline.{name}.{key}={values[key]} is negative")
    one_of(f"pipeline.{name}.env_manager", values.get("env_manager", "inherit"), ENV_MANAGERS, problems)
    one_of(f"pipeline.{name}.if_skipped", values.get("if_skipped", "skip"), ("skip", "latest"), problems)
    step = Step(name, **values)
    try:
        for _ in step.references():
            pass
    except RequestError as error:
        problems += [f"pipeline.{name}: {problem}" for problem in error.problems]
        return Step(name)
    return step


def flatten(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Parameters as MLflow takes them: text, names joined with `_` where they are nested; null is left out."""
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}_")
        elif value is not None:
            yield f"{prefix}{name}", text(value)


def text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(text, value))
    return str(value)


def parse_groups(
    groups: Mapping[str, Any], known: Mapping[str, Step], problems: list[str]
) -> dict[str, tuple[str, ...]]:
    """Names that stand for several steps; `all` is always among them."""
    found = {"all": tuple(name for name, step in known.items() if not step.manual)}
    for group, names in groups.items():
        names = as_list(names)
        problems += [unknown("step", str(name), known, f"groups.{group}") for name in names if name not in known]
        if group in known or group == "all":
            problems.append(f"groups.{group} has the name of {'every step' if group == 'all' else 'a step'}; rename it")
        found[group] = tuple(map(str, names))
    return found


def as_list(value: Any) -> list[Any]:
    """A list that may be written as one text, or left empty."""
    return [value] if isinstance(value, str) else list(value or ())


def select(
    steps: str | list[Any], known: Mapping[str, Step], groups: Mapping[str, tuple[str, ...]], problems: list[str]
) -> tuple[str, ...]:
    """The steps named: text with commas or a list, in any order, spaces allowed; a group is each of its steps."""
    names = steps.split(",") if isinstance(steps, str) else list(map(str, steps))
    names = [name.strip() for name in names if name.strip()]
    if not names:
        problems.append(f"steps is empty; valid: {', '.join([*known, *groups])}")
    problems += [unknown("step", name, [*known, *groups]) for name in names if name not in known and name not in groups]
    chosen = {step for name in names for step in groups.get(name, (name,))}
    return tuple(name for name in known if name in chosen)


def one_of(key: str, value: Any, valid: Iterable[str], problems: list[str]) -> None:
    if value not in valid:
        problems.append(unknown(f"value of {key}", str(value), valid))


def has_type(value: Any, wanted: Any) -> bool:
    if isinstance(value, bool):  # which Python counts as an int
        return wanted is bool or (isinstance(wanted, tuple) and bool in wanted)
    return isinstance(value, (Mapping if wanted is dict else wanted))


def kind(wanted: Any) -> str:
    names = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        list: "a list",
        tuple: "a list",
    }
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    return " or ".join(
        dict.fromkeys(names.get(w, "a block of keys") for w in wanted if not (w is int and float in wanted))
    )
