"""What the benchmarks share: the machine and versions, processes without a wish for slow starts, RESULTS.md."""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
REAL_LIST = ROOT.parent / "shared" / "data" / "titanic.csv"
SAMPLE = ROOT / "data" / "titanic_sample.csv"
PACKAGES = ("mlflow", "pandas", "scikit-learn", "numpy", "skops", "hydra-core", "SQLAlchemy")


def environment(**more: str) -> dict[str, str]:
    """This process's variables for a measured one: byte-code is written, no MLflow setting of the caller's counts."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE" and not k.startswith("MLFLOW_")}
    here = str(Path(sys.executable).parent)
    return kept | {"PATH": os.pathsep.join([here, kept.get("PATH", os.defpath)])} | more


def timed(command: Sequence[str], **options: Any) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and peak resident MiB of a process, which has to end well.

    Linux counts a new process as at least as large as the one that starts it: keep that one small.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment(), **options)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the measured process failed with exit code {process.returncode}: {' '.join(command)[:200]}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def machine() -> str:
    """One paragraph: when, on what, with which versions, at which commit."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}; {os.cpu_count()} cores, {processor()}, {memory()}, {platform.system()}; "
        f"Python {platform.python_version()}, {versions}; commit {commit()}. "
        "PYTHONDONTWRITEBYTECODE is unset for every measured process."
    )


def processor() -> str:
    info = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else None
    return match[1] if match else platform.processor() or platform.machine()


def memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "memory unknown"


def commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True).stdout.strip()

    return f"{git('rev-parse', '--short', 'HEAD') or 'none'}{' with changes' if git('status', '--porcelain') else ''}"


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def verdict(value: float, must: float, aim: float | None = None) -> str:
    """A figure against what issue 5 asks for: smaller is better."""
    told = f"must ≤ {must:g}: {'kept' if value <= must else 'MISSED'}"
    return told if aim is None else f"{told}; aim ≤ {aim:g}: {'kept' if value <= aim else 'missed'}"


def write_section(name: str, text: str, path: Path = HERE / "RESULTS.md") -> None:
    """Replace the section `name` of RESULTS.md, or add it; the others stay as they are."""
    whole = path.read_text(encoding="utf-8") if path.is_file() else "# What the benchmarks found\n"
    section = f"<!-- {name} -->\n{text.strip()}\n<!-- end of {name} -->\n"
    pattern = re.compile(rf"<!-- {re.escape(name)} -->\n.*?<!-- end of {re.escape(name)} -->\n", re.DOTALL)
    new, count = pattern.subn(lambda _: section, whole)
    path.write_text(new if count else f"{whole.rstrip()}\n\n{section}", encoding="utf-8")
