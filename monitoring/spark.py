"""Work that is shared among the machines of a Spark cluster: the same function on many parts, the results in order.

Each machine has the packages of the step (and the same Python), and reads the input under the same path; the step's own
modules are sent there. This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from step_error import StepError, first_line

PROCESSES, SPARK = ENGINES = ("processes", "spark")
TO_HAVE_IT = "pip install -r requirements-spark.lock, and Java 17 or later (apt-get install openjdk-17-jre-headless)"


class Spark:
    """A session at `master` (local[2], spark://HOST:7077, yarn, k8s://…) whose executors know `job`.

    Raises:
        StepError: PySpark or Java is not there, or the master does not answer.
    """

    def __init__(self, master: str, job: object) -> None:
        try:
            from pyspark.sql import SparkSession
        except ImportError:
            raise StepError(f"engine=spark needs PySpark, which is not installed here: {TO_HAVE_IT}") from None
        if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
            raise StepError(f"engine=spark needs Java, which is not here: {TO_HAVE_IT}")
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        settings: dict[str, Any] = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.log.level": "ERROR",
        }
        builder = SparkSession.builder.master(master).appName(type(job).__module__)
        try:
            self.context = builder.config(map=settings).getOrCreate().sparkContext
        except Exception as error:  # Java's, in several forms
            raise StepError(
                f"Spark did not start at master={master!r} ({first_line(error)}); does one answer there?"
            ) from None
        self.folder = tempfile.TemporaryDirectory()
        step = Path(str(sys.modules[type(job).__module__].__file__)).parent
        self.context.addPyFile(shutil.make_archive(f"{self.folder.name}/modules", "zip", step))
        self.job = self.context.broadcast(job)

    def map(self, function: Callable[..., Any], tasks: Iterable[tuple[object, ...]]) -> "Results":
        """`function(job, *task)` for each task; a module's function, whose StepError comes back as it is."""
        given, job = list(tasks), self.job

        def call(task: tuple[object, ...]) -> tuple[bool, Any]:
            try:
                return True, function(job.value, *task)
            except StepError as error:
                return False, error

        return Results(self.context.parallelize(given, max(1, len(given))).map(call))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.context.stop()
        self.folder.cleanup()


class Results:
    """What came of the tasks, on the executors' disks until the session ends: one at a time is fetched."""

    def __init__(self, found: Any) -> None:
        from pyspark import StorageLevel

        self.found = found.persist(StorageLevel.DISK_ONLY)
        self.found.foreach(lambda _: None)  # all of them at once; the iterator alone would ask for one after the other

    def __iter__(self) -> Iterator[Any]:
        return self.each(lambda result: result)

    def each(self, function: Callable[[Any], Any]) -> Iterator[Any]:
        """`function(result)` in the tasks' order, worked out where the result is.

        Raises:
            StepError: a task's own.
        """
        for good, found in self.found.map(lambda one: (True, function(one[1])) if one[0] else one).toLocalIterator():
            if not good:
                raise found
            yield found
