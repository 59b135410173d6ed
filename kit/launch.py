"""A step in another language: `python launch.py bash step.sh {input}` as the command of its MLproject.

The program runs in the step's MLflow run. What it writes into the folder $STEP_OUTPUTS is logged as artifacts, but for
metrics.json there: its numbers are logged as metrics. Where the program fails the step fails, with the same exit code
and its last words. C++ is compiled first: `python launch.py g++ step.cpp {input}`.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
from step import log_dataset, requested_uri, run_step
from step_error import StepError

STEP = Path(__file__).resolve().parent.name
COMPILERS = ("g++", "clang++", "c++")


def main() -> int:
    codes: list[int] = []

    def work(run: mlflow.ActiveRun, folder: Path) -> None:
        if len(sys.argv) < 3:
            raise StepError("it has no program to run; say in MLproject: python launch.py PROGRAM SOURCE {input} …")
        tool, source, *arguments = sys.argv[1:]
        mlflow.set_tag("toolchain", version_of(tool))
        log_inputs(run, arguments)
        command = [compiled(tool, source, folder)] if tool in COMPILERS else [tool, source]
        outputs = folder / "outputs"
        outputs.mkdir()
        code, last_words = run_program([*command, *arguments], outputs)
        if code:
            codes.append(128 - code if code < 0 else code)
            ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise StepError(last_words or f"{source} {ended}, and did not say why")
        metrics = outputs / "metrics.json"
        if metrics.is_file():
            mlflow.log_metrics(read_metrics(metrics, source))
            metrics.unlink()
        mlflow.log_artifacts(str(outputs))

    failed = run_step(STEP, work)
    return codes[0] if codes else failed


def version_of(tool: str) -> str:
    """The first line of what `TOOL --version` says.

    Raises:
        StepError: it is not there.
    """
    try:
        said = subprocess.run([tool, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise StepError(f"{tool} cannot be started ({error.strerror}); install it, and have it on the PATH") from None
    return next((line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()), tool)


def log_inputs(run: mlflow.ActiveRun, arguments: list[str]) -> None:
    """Log those arguments that are files as datasets, each with the parameter's URI that it was downloaded from."""
    for path in map(Path, arguments):
        if path.is_file():
            uris = {requested_uri(run, name, path) for name in run.data.params}
            named = [uri for uri in uris if uri.rpartition("/")[2] == path.name]
            log_dataset(path, named[0] if len(named) == 1 else str(path), "input")


def compiled(compiler: str, source: str, folder: Path) -> str:
    """The program that the compiler makes of the source.

    Raises:
        StepError: it makes none; what it said is on standard error.
    """
    program = str(folder / "program")
    done = subprocess.run([compiler, "-std=c++17", "-O2", "-o", program, source], stderr=subprocess.PIPE, text=True)
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or [f"exit code {done.returncode}"]
        raise StepError(f"{source} does not compile: {errors[0]}")
    return program


def run_program(command: list[str], outputs: Path) -> tuple[int, str]:
    """The exit code (a signal: negative), and the last line on standard error; those before it go to our own."""
    environ = os.environ | {"STEP_OUTPUTS": str(outputs)}
    last = ""
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stderr or ():
            if line.strip():
                if last:
                    print(last, file=sys.stderr, flush=True)
                last = line.rstrip()
    if process.returncode == 0 and last:
        print(last, file=sys.stderr)
    return process.returncode, last.strip()


def read_metrics(path: Path, source: str) -> dict[str, float]:
    """The numbers of metrics.json, by name.

    Raises:
        StepError: it holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        metrics = {name: float(value) for name, value in content.items()}
        if not all(map(math.isfinite, metrics.values())):
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise StepError(f'{source} left a metrics.json that is not of the form {{"rows_out": 900}}') from None
    return metrics


if __name__ == "__main__":
    sys.exit(main())
