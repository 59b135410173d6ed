"""A Spark master and two workers of this machine, for the tests."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def standalone(folder: Path) -> Iterator[str]:
    """A master on loopback and two workers with one processor each; its address."""
    pyspark = pytest.importorskip("pyspark", reason="PySpark is not installed here: requirements-spark.lock")
    if not shutil.which("java"):
        pytest.skip("Java is not installed here")
    program = Path(pyspark.__file__).parent / "bin" / "spark-class"
    variables = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str, said: str) -> str:
            """Start a part of the cluster; what it says when it is ready."""
            log = folder / f"{name}.log"
            command = [program, f"org.apache.spark.deploy.{name.rstrip('01')}", "--host", "127.0.0.1", *arguments]
            with log.open("wb") as file:
                process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | variables)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            while process.poll() is None:
                if found := re.search(said, log.read_text()):
                    return found[1]
                time.sleep(0.1)
            raise RuntimeError(f"{name} ended with exit code {process.returncode}: {log.read_text()[-500:]}")

        master = start("master.Master", "--port", "0", "--webui-port", "0", said=r"Spark master at (spark://\S+)")
        for number in range(2):
            place = ["--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"work{number}"), "--webui-port", "0"]
            start(f"worker.Worker{number}", *place, master, said="(Successfully registered)")
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in variables.items():
            patch.setenv(name, value)
        yield master
