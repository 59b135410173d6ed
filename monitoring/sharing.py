"""Share out the parts of a clean table: to one process, several, or the machines of a Spark cluster.

The parts are the same whoever does them, and what comes of them is joined in order: so is the result.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byte_ranges import RANGE_BYTES, ByteRange, byte_ranges
from spark import PROCESSES, SPARK, Spark
from workers import Workers, cores, in_order


@dataclass(frozen=True)
class Sharing:
    """Who does the parts: `workers` processes of this machine, 0: as many as there are processors; with engine=spark
    the cluster at `master`."""

    workers: int = 1
    engine: str = PROCESSES
    master: str = "local[*]"

    def each(
        self, function: Callable[[Any, ByteRange], Any], job: object, path: Path, head: ByteRange
    ) -> Iterator[Any]:
        """`function(job, part)` for each part of the file after `head`, in order; a module's function.

        Raises:
            StepError: a part's own; a worker has ended, or Spark does not start.
        """
        parts = byte_ranges(path, ",", head, RANGE_BYTES)
        count = 1 if is_short(path) else self.workers or cores()
        if self.engine == SPARK:
            with Spark(self.master, job) as spark:
                yield from spark.map(function, [(part,) for part in parts])
        elif count > 1:
            with Workers(count, job) as workers:
                yield from in_order((workers.submit(function, part) for part in parts), count + 2)
        else:
            yield from (function(job, part) for part in parts)


ONE_PROCESS = Sharing()


def is_short(path: Path) -> bool:
    """Whether the file is one part, for which no process is started."""
    return path.stat().st_size <= RANGE_BYTES
