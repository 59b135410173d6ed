"""A step in another language: `python launch.py bash step.sh {input}` as the command of its MLproject.

The program runs in the step's MLflow run. What it leaves in the folder $STEP_OUTPUTS is logged (step_outputs.py); where
it fails the step fails, with the same exit code and its last words.

C++ and Go are compiled first. What stands behind the tool is handed to it: `python launch.py "g++ -lcurl" step.cpp`.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
from step import log_dataset, requested_uri, run_step
from step_error import StepError
from step_outputs import log_outputs

STEP = Path(__file__).resolve().parent.name
CPP = ("-std=c++17", "-O2", "-o")
COMPILERS = {"g++": CPP, "clang++": CPP, "c++": CPP, "go": ("build", "-o")}  # each with its arguments up to the program
VERSION = ("--version", "version", "-version")  # how tools are asked for theirs


def main() -> int:
    codes: list[int] = []

    def work(run: mlflow.ActiveRun, folder: Path) -> None:
        if len(sys.argv) < 3:
            raise StepError("it has no program to run; say in MLproject: python launch.py PROGRAM SOURCE {input} …")
        (tool, *options), source, *arguments = shlex.split(sys.argv[1]), *sys.argv[2:]
        mlflow.set_tag("toolchain", version_of(tool))
        log_inputs(run, arguments)
        compiles = tool in COMPILERS
        command = [compiled(tool, options, source, folder)] if compiles else [tool, *options, source]
        outputs = folder / "outputs"
        outputs.mkdir()
        code, last_words = run_program([*command, *arguments], outputs)
        if code:
            codes.append(128 - code if code < 0 else code)
            ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise StepError(last_words or f"{source} {ended}, and did not say why")
        try:
            log_outputs(outputs, mlflow.MlflowClient(), run.info.run_id)
        except ValueError as error:
            raise StepError(str(error)) from None

    failed = run_step(STEP, work)
    return codes[0] if codes else failed


def version_of(tool: str) -> str:
    """The first line of what the tool says of its version.

    Raises:
        StepError: it is not there.
    """
    for argument in VERSION:
        try:
            said = subprocess.run([tool, argument], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except OSError as error:
            raise StepError(
                f"{tool} cannot be started ({error.strerror}); install it, and have it on the PATH"
            ) from None
        lines = [line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()]
        if lines and not said.returncode:
            return lines[0]
    return tool


def log_inputs(run: mlflow.ActiveRun, arguments: list[str]) -> None:
    """Log those arguments that are files as datasets, each with the parameter's URI that it was downloaded from."""
    for path in map(Path, arguments):
        if path.is_file():
            uris = {requested_uri(run, name, path) for name in run.data.params}
            named = [uri for uri in uris if uri.rpartition("/")[2] == path.name]
            log_dataset(path, named[0] if len(named) == 1 else str(path), "input")


def compiled(compiler: str, options: list[str], source: str, folder: Path) -> str:
    """The program that the compiler makes of the source; the options, such as libraries, stand behind it for C++.

    Raises:
        StepError: it makes none; what it said is on standard error.
    """
    program, ahead = str(folder / "program"), COMPILERS[compiler]
    sources = [*options, source] if compiler == "go" else [source, *options]
    done = subprocess.run([compiler, *ahead, program, *sources], stderr=subprocess.PIPE, text=True)
    print(done.stderr, end="", file=sys.stderr)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("#")]
        errors = [line for line in said if "error" in line] or said or [f"exit code {done.returncode}"]
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


if __name__ == "__main__":
    sys.exit(main())
