"""The front door: one call from the command line to the exit code. Standard library only, so that it opens at once."""

import atexit
import contextlib
import functools
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pipeline import journal
from pipeline.files import PROJECT

if TYPE_CHECKING:
    from pipeline.cli.composing import Composed
    from pipeline.session import Session

HELP = {"--help", "-h"}
CONFIG_DIR = "--config-dir"
Main = Callable[["Composed", "Session"], int]


def run_application(main: Main, root: Path, arguments: list[str]) -> NoReturn:
    """Run `main` with each configuration that `arguments` and `root`/config.yaml make, and end the process.

    With --multirun there are several, in one sweep; a refused one does not keep the others from being run. Exit code:
    see pipeline.states.ExitCode.
    """
    gc.disable()  # a quarter of the time that imports take; turned on again before anything runs
    started = time.time()
    root, arguments = root_and_rest(root, arguments)
    if HELP & set(arguments):
        from pipeline.cli.help import help_text

        journal.say(help_text(root, arguments))
        exit_process(0)
    work_in(root)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the runner takes over
        if "--watch" in arguments:
            watch(main, root, [argument for argument in arguments if argument != "--watch"])
        if arguments and is_command(arguments[0]):
            from pipeline.cli import commands

            exit_process(commands.answer(root, arguments[0], arguments[1:]))
        answer = journal.answer(root, arguments)
        code = run_all(main, root, arguments, started) if answer is None else answer
    except KeyboardInterrupt:
        print("interrupted before anything was started", file=sys.stderr)
        code = 130
    exit_process(code)


def is_command(argument: str) -> bool:
    """Whether it is a word such as `status` or `ci-report`; no override, and nothing of `mlflow run`'s (--steps)."""
    return not argument.startswith("-") and argument.replace("-", "_").isidentifier()


def root_and_rest(root: Path, arguments: list[str]) -> tuple[Path, list[str]]:
    """The folder whose config.yaml is meant, `root` where --config-dir names no other, and the further arguments.

    All that is the project's is that folder's then: its steps, its store and its `outputs/`.
    """
    joined = [place for place, argument in enumerate(arguments) if argument.startswith(f"{CONFIG_DIR}=")]
    if joined:
        arguments[joined[0] : joined[0] + 1] = arguments[joined[0]].split("=", 1)
    if CONFIG_DIR not in arguments:
        return root, arguments
    place = arguments.index(CONFIG_DIR)
    named = arguments[place + 1 : place + 2]
    folder = Path(*named).resolve()
    if not named or not (folder / "config.yaml").is_file():
        print(f"error: {CONFIG_DIR} {' '.join(named)}: there is no config.yaml in {folder}", file=sys.stderr)
        exit_process(2)
    return folder, arguments[:place] + arguments[place + 2 :]


def work_in(root: Path) -> None:
    """Work in the project's folder, wherever we were started: that is where a store that nobody named belongs."""
    here, uri = Path.cwd(), os.environ.get("MLFLOW_TRACKING_URI", "")
    path = uri.removeprefix("sqlite:///")
    if here != root and path and "://" not in path:  # a file, named as seen from where we were
        named = {"MLFLOW_TRACKING_URI": uri.removesuffix(path) + str(here / path)}
        os.environ |= named
        journal.ENVIRONMENT |= named
    os.chdir(root)


def watch(main: Main, root: Path, arguments: list[str]) -> NoReturn:
    """Run again whenever something changes, until Ctrl-C."""
    from pipeline.cli import watching

    def round_() -> NoReturn:
        run_application(main, root, arguments)

    try:
        watching.watch(round_, root)
    except KeyboardInterrupt:
        print("\nended", file=sys.stderr)
        exit_process(130)


def run_all(main: Main, root: Path, arguments: list[str], started: float) -> int:
    """Compose, run `main` for each configuration, and say what was refused; the exit code."""
    from pipeline.cli.ahead import import_ahead
    from pipeline.cli.arguments import MULTIRUN, rerun_command
    from pipeline.credentials import masked
    from pipeline.errors import RequestError, StoreError
    from pipeline.session import Session
    from pipeline.states import ExitCode
    from pipeline.tracking.reach import check_connection

    # Nothing of ours tells anybody what it does, unless asked to; and what has a thread cannot be forked from.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # At each end of a run MLflow would ask a server for it once more, to print its address among a step's last words.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    codes: list[int] = []
    refused: list[RequestError] = []
    launcher = None
    try:
        check_connection(os.environ.get("MLFLOW_TRACKING_URI", ""))
        launcher, configurations = import_ahead(root, arguments)
        elsewhere = [] if root == PROJECT else [CONFIG_DIR, os.path.relpath(root, PROJECT)]
        rerun = functools.partial(rerun_command, (*arguments, *elsewhere))
        sweep = bool(MULTIRUN & set(arguments))
        with Session(root, arguments, rerun, started, sweep, launcher) as session:
            for composed in configurations:
                try:
                    codes.append(main(composed, session))
                except RequestError as error:  # the other combinations are run nevertheless
                    refused.append(error)
    except RequestError as error:
        refused.append(error)
    except StoreError as error:  # the next combination would meet the same
        print(f"error: {masked(str(error))}", file=sys.stderr)
        codes.append(ExitCode.STEP_FAILED)
    finally:
        if launcher:
            launcher.close()
    for problem in dict.fromkeys(problem for error in refused for problem in error.problems):
        print(f"error: {masked(problem)}", file=sys.stderr)
    return max([*codes, *[ExitCode.REFUSED] * bool(refused)], default=ExitCode.DONE)


def exit_process(code: int) -> NoReturn:
    """End the process with this exit code, without taking apart all that was imported: that takes half a second."""
    if processes := sys.modules.get("multiprocessing"):  # whose exit handler waits for what an interruption left behind
        for child in processes.active_children():
            child.kill()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)
