"""What waits is judged and scored together: a thousand rows at once cost little more than one. No HTTP here.

A large request is scored in slices, so that small ones get their turn between them.
"""

import itertools
import json
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from declaration import REGRESSION, Table
from explanation import strongest
from request_rows import Cells, RequestError, as_columns
from row_checks import Judged, judge, rules
from saved_model import SavedModel
from threadpoolctl import threadpool_limits

SLICE = 1000  # rows of one request that are scored before others have their turn
EXPLAINED = 20  # rows whose reasons are found before others have their turn: as long as thousands are scored
BATCH = 2 * SLICE  # rows that are scored at once
PATIENCE = 0.2  # of the time that the last batch took, to wait for more
MAX_REPORTED_ROWS = 5  # bad rows named in one answer
MAX_SHOWN = 40  # characters of a value that a message repeats


@dataclass
class Answer:
    """The body of an answer, and how often each class is in it (nothing of numbers)."""

    body: bytes
    predictions: Counter[object]


@dataclass
class Job:
    """A request's rows, and what came of those that have been looked at. All are answered by the same model."""

    model: SavedModel
    cells: Cells
    rows: int
    reasons: bool = False  # whether they are asked for
    answer: "Future[Answer]" = field(default_factory=Future)
    done: int = 0  # rows
    records: list[str] = field(default_factory=list)  # JSON without the brackets
    faults: list[str] = field(default_factory=list)
    bad: int = 0  # rows
    predictions: Counter[object] = field(default_factory=Counter)


@dataclass(frozen=True)
class Part:
    """Some rows of a job, from `start` until before `stop`."""

    job: Job
    start: int
    stop: int

    def cells(self, name: str) -> Sequence[str | None]:
        return self.job.cells[name][self.start : self.stop]


class Batches:
    """The thread that answers, and what waits for it."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.waiting: deque[Job] = deque()
        self.expected, self.patience = 1, 0.0  # how many to wait for, and for how many seconds
        self.thread = threading.Thread(target=self.work, name="batches", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.inbox.put(None)
        self.thread.join(10)

    def alive(self) -> bool:
        return self.thread.is_alive()

    def submit(self, job: Job) -> "Future[Answer]":
        """The answer to come: RequestError where a row breaks the declaration, else what the model stumbled over."""
        self.inbox.put(job)
        return job.answer

    def work(self) -> None:
        with threadpool_limits(1):  # a few rows are scored before more threads had started
            while self.collect():
                start, clients = time.monotonic(), len(self.waiting)
                score(self.take())
                self.waiting = deque(job for job in self.waiting if not job.answer.done())
                self.expected = clients + self.inbox.qsize()
                self.patience = PATIENCE * (time.monotonic() - start)

    def collect(self) -> bool:
        """Fetch what has come, wait for it where there is nothing to do, and a little for more; False at the end.

        Who has just been answered often asks again at once: to wait for them makes one batch of what were two.
        """
        try:
            if not self.waiting and not self.receive(None):
                return False
            deadline = time.monotonic() + self.patience
            while not self.inbox.empty() or len(self.waiting) < self.expected:
                if not self.receive(max(0.0, deadline - time.monotonic())):
                    return False
        except queue.Empty:
            pass
        return True

    def receive(self, seconds: float | None) -> bool:
        """One more job waits; False where there will be none. Raises queue.Empty after so many seconds."""
        job = self.inbox.get(timeout=seconds)
        if job:
            self.waiting.append(job)
        return job is not None

    def take(self) -> list[Part]:
        """The next rows of those who wait, all for one model: at most SLICE of each, together at most BATCH."""
        model, room, parts = self.waiting[0].model, BATCH, []
        for job in tuple(self.waiting):
            if room and job.model is model:
                part = Part(job, job.done, min(job.rows, job.done + min(room, EXPLAINED if job.reasons else SLICE)))
                room -= part.stop - part.start
                parts.append(part)
                self.waiting.remove(job)
                self.waiting.append(job)  # behind all others
        return parts


def score(parts: Sequence[Part]) -> None:
    """Judge the parts, which are for the same model, and predict all that is good; answer the jobs that are done."""
    try:
        judge_and_predict(parts)
    except Exception as error:  # the model's own, on rows that no rule forbids: whose rows they are shows alone
        if len(parts) > 1:
            for part in parts:
                score([part])
            return
        settle(parts[0].job, error)
    for part in parts:
        if part.stop == part.job.rows and not part.job.answer.done():
            settle(part.job, finished(part.job))


def settle(job: Job, outcome: Answer | Exception) -> None:
    try:
        if isinstance(outcome, Exception):
            job.answer.set_exception(outcome)
        else:
            job.answer.set_result(outcome)
    except InvalidStateError:
        pass  # nobody waits any more


def answer_alone(model: SavedModel, cells: Cells) -> bytes:
    """The answer to rows, judged and scored at once in this thread.

    Raises:
        RequestError: a row breaks the declaration.
        Exception: the model's own.
    """
    job = Job(model, cells, len(next(iter(cells.values()))))
    score([Part(job, 0, job.rows)])
    return job.answer.result().body


def judge_and_predict(parts: Sequence[Part]) -> None:
    """Every part's job has what came of its rows; nothing has changed where the model raises."""
    model = parts[0].job.model
    cells = as_columns({name: list(itertools.chain(*(part.cells(name) for part in parts))) for name in model.wanted})
    judged = judge(cells, model.table, target="optional")
    ends = list(itertools.accumulate(part.stop - part.start for part in parts))
    places = [range(end - (part.stop - part.start), end) for part, end in zip(parts, ends, strict=True)]
    bad = np.logical_or.reduce(list(judged.findings.values())) if judged.findings else np.zeros(ends[-1], bool)
    good = np.flatnonzero(~bad)
    frame = judged.frame if len(good) == len(bad) else judged.frame.iloc[good]
    rows = typed(frame, model.table)
    said = predictions(model, rows) if len(good) else pd.DataFrame()
    records: dict[int, Any] = dict(zip(good.tolist(), said.to_dict("records"), strict=True))
    asked = [
        place for part, own in zip(parts, places, strict=True) if part.job.reasons for place in own if not bad[place]
    ]
    if asked:
        for place, why in zip(asked, strongest(model, rows.iloc[np.searchsorted(good, asked)]), strict=True):
            records[place]["reasons"] = why
    for part, own in zip(parts, places, strict=True):
        job = part.job
        wrong = [place for place in own if bad[place]]
        job.bad += len(wrong)
        for place in wrong[: MAX_REPORTED_ROWS - len(job.faults)]:
            number = part.start + place - own.start + 1
            job.faults.append(f"row {number}: {', '.join(reasons(place, judged, cells, model.table))}")
        if not job.bad and own:
            found = [records[place] for place in own]
            job.records.append(json.dumps(found)[1:-1])
            if model.table.task != REGRESSION:
                job.predictions.update(one[model.table.target.name] for one in found)
        job.done = part.stop


def predictions(model: SavedModel, rows: pd.DataFrame) -> pd.DataFrame:
    """What the model says of rows, in the words of an answer."""
    said = model.predict(rows)
    return said.astype({model.table.target.name: bool}) if model.table.target.type == "boolean" else said


def finished(job: Job) -> Answer | RequestError:
    if not job.bad:
        return Answer(f'{{"predictions": [{", ".join(job.records)}]}}'.encode(), job.predictions)
    more = job.bad - len(job.faults)
    return RequestError(400, "; ".join([*job.faults, *[f"and {more} more rows"] * (more > 0)]))


def typed(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Judged rows in the types of `Table.read`, in which models know them."""
    columns = {}
    for name, values in frame.items():
        one = table.by_name[str(name)]
        if one.type == "boolean":
            values = values.map({"true": 1.0, "false": 0.0})
        columns[name] = values.to_numpy("float64" if one.numeric else object, na_value=np.nan)
    return pd.DataFrame(columns)


def reasons(place: int, judged: Judged, cells: dict[str, pd.Series], table: Table) -> Iterable[str]:
    """For each rule that a row breaks: the rule, the cell, and what it must be."""
    for (name, rule), mask in judged.findings.items():
        if mask[place]:
            one, cell = table.by_name[name], cells[name].iloc[place]
            value = "" if rule == "missing" else f"{shorten(cell)}; "
            yield f"{name}_{rule} ({value}{rules(one, needed=one.required)[rule]})"


def shorten(cell: str) -> str:
    """A cell for a message: short, in one line."""
    text = repr(cell)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
