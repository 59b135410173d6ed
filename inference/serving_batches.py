"""What waits is judged and scored together: a thousand rows at once cost little more than one. No HTTP here.

A large request is scored in slices, so that small ones get their turn between them.
"""

import functools
import itertools
import json
import logging
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
from batch_scoring import in_canary, in_words, predict_rows
from explanation import strongest
from request_rows import Cells, RequestError, as_columns
from row_checks import Judged, judge, rules
from saved_model import SavedModel
from serving_log import ServedLog, answer_columns
from table import REGRESSION, Table, text_of
from threadpoolctl import threadpool_limits

SLICE = 1000  # rows of one request that are scored before others have their turn
EXPLAINED = 20  # rows whose reasons are found before others have their turn: as long as thousands are scored
BATCH = 2 * SLICE  # rows that are scored at once
PATIENCE = 0.2  # of the time that the last batch took, to wait for more
MAX_REPORTED_ROWS = 5  # bad rows named in one answer
MAX_SHOWN = 40  # characters of a value that a message repeats
logger = logging.getLogger("inference")


@dataclass(frozen=True, eq=False)
class Models:
    """Those that a request's rows meet. `challenger` answers for the rows of the `canary`'s share, by their keys."""

    champion: SavedModel
    challenger: SavedModel | None = None
    shadow: SavedModel | None = None  # asked, too, for the log alone
    canary: float = 0
    log: ServedLog | None = None

    @property
    def table(self) -> Table:
        return self.champion.table

    @property
    def keyed(self) -> bool:
        """Whether rows must have their key."""
        return self.table.has_key and (self.canary > 0 or self.log is not None)

    @functools.cached_property
    def features(self) -> list[str]:
        """The columns that any of them reads."""
        models = (one for one in (self.champion, self.challenger, self.shadow) if one)
        return list(dict.fromkeys(name for one in models for name in one.wanted))

    @functools.cached_property
    def columns(self) -> list[str]:
        """Those that a request must have."""
        return list(dict.fromkeys([*self.features, *[self.table.key.name] * self.keyed]))

    @functools.cached_property
    def label(self) -> str:
        return ",".join(one.label for one in (self.champion, self.challenger) if one)


@dataclass(eq=False)
class Scored:
    """Rows that were scored together: for each declared column the cells as they were sent, and what was said."""

    models: Models
    cells: list[list[str | None]]
    rows: pd.DataFrame
    said: pd.DataFrame  # as `predict_rows` gives it; where there is neither log nor canary without model_version


@dataclass
class Answer:
    """The body of an answer, and how often each class is in it (nothing of numbers)."""

    body: bytes
    predictions: Counter[object]


@dataclass
class Job:
    """A request's rows, and what came of those that have been looked at. All meet the same models."""

    models: Models
    cells: Cells
    rows: int
    reasons: bool = False  # whether they are asked for
    answer: "Future[Answer]" = field(default_factory=Future)
    done: int = 0  # rows
    records: list[str] = field(default_factory=list)  # JSON without the brackets
    faults: list[str] = field(default_factory=list)
    bad: int = 0  # rows
    predictions: Counter[object] = field(default_factory=Counter)
    kept: list[tuple[Scored, list[int]]] = field(default_factory=list)  # rows that are for the log


@dataclass(frozen=True)
class Part:
    """Some rows of a job, from `start` until before `stop`."""

    job: Job
    start: int
    stop: int

    def cells(self, name: str) -> Sequence[str | None]:
        """Gaps where the request has no such column."""
        return self.job.cells[name][self.start : self.stop] if name in self.job.cells else [None] * len(self)

    def __len__(self) -> int:
        return self.stop - self.start


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
        """The next rows of those who wait, all for the same models: at most SLICE of each, together at most BATCH."""
        models, room, parts = self.waiting[0].models, BATCH, []
        for job in tuple(self.waiting):
            if room and job.models is models:
                part = Part(job, job.done, min(job.rows, job.done + min(room, EXPLAINED if job.reasons else SLICE)))
                room -= len(part)
                parts.append(part)
                self.waiting.remove(job)
                self.waiting.append(job)  # behind all others
        return parts


def score(parts: Sequence[Part]) -> None:
    """Judge the parts, which are for the same models, and predict all that is good; answer the jobs that are done."""
    try:
        judge_and_predict(parts)
    except Exception as error:  # the model's own, on rows that no rule forbids: whose rows they are shows alone
        if len(parts) > 1:
            for part in parts:
                score([part])
            return
        settle(parts[0].job, error)
    done = [part.job for part in parts if part.stop == part.job.rows and not part.job.answer.done()]
    answered = [job for job in done if settle(job, finished(job))]
    try:
        log_answers(answered)
    except Exception as error:  # they have their answers
        logger.error("%d requests could not be logged (%s)", len(answered), type(error).__name__)


def settle(job: Job, outcome: Answer | Exception) -> bool:
    """Whether there was an answer, and somebody who waited for it."""
    try:
        if isinstance(outcome, Exception):
            job.answer.set_exception(outcome)
            return False
        job.answer.set_result(outcome)
    except InvalidStateError:
        return False
    return True


def log_answers(jobs: Sequence[Job]) -> None:
    """Hand what was answered to the log; now the shadow is asked, whom nobody waits for."""
    places: dict[Scored, list[int]] = {}
    for scored, own in itertools.chain.from_iterable(job.kept for job in jobs):
        places.setdefault(scored, []).extend(own)
    for scored, own in places.items():
        models = scored.models
        if models.log and own:
            answers = [answer_cells(models.table, scored.said.iloc[own]), shadow_cells(models, scored.rows.iloc[own])]
            cells = ([column[place] for place in own] for column in scored.cells)
            models.log.add(zip(*cells, *itertools.chain(*answers), strict=True))


def answer_cells(table: Table, said: pd.DataFrame) -> list[list[object]]:
    return [in_words(table, said)[name].tolist() for name in answer_columns(table)]


def shadow_cells(models: Models, rows: pd.DataFrame) -> list[list[object]]:
    """What the shadow says; nothing where there is none, or it stumbles."""
    if models.shadow:
        try:
            said = models.shadow.predict(rows).assign(model_version=models.shadow.label)
            return answer_cells(models.table, said)
        except Exception as error:
            logger.error("the shadow, version %s, failed (%s)", models.shadow.label, type(error).__name__)
    return [[""] * len(rows) for _ in answer_columns(models.table)]


def answer_alone(model: SavedModel, cells: Cells) -> bytes:
    """The answer to rows, judged and scored at once in this thread.

    Raises:
        RequestError: a row breaks the declaration.
        Exception: the model's own.
    """
    job = Job(Models(model), cells, len(next(iter(cells.values()))))
    score([Part(job, 0, job.rows)])
    return job.answer.result().body


def judge_and_predict(parts: Sequence[Part]) -> None:
    """Every part's job has what came of its rows; nothing has changed where the model raises."""
    models = parts[0].job.models
    table = models.table
    cells = as_columns({name: cells_of(parts, name) for name in models.columns})
    judged = judge(cells, table, target="optional")
    ends = list(itertools.accumulate(len(part) for part in parts))
    places = [range(end - len(part), end) for part, end in zip(parts, ends, strict=True)]
    bad = np.logical_or.reduce(list(judged.findings.values())) if judged.findings else np.zeros(ends[-1], bool)
    good = np.flatnonzero(~bad)
    frame = judged.frame if len(good) == len(bad) else judged.frame.iloc[good]
    explained = np.repeat([part.job.reasons for part in parts], list(map(len, parts)))[good]
    scored, records = score_rows(models, frame, parts, good, explained) if len(good) else (None, [])
    logged = np.zeros(len(good), bool)
    if scored and models.log:
        logged = models.log.chosen(keys_of(models, frame, scored.cells))
    for part, own in zip(parts, places, strict=True):
        job = part.job
        wrong = [place for place in own if bad[place]]
        job.bad += len(wrong)
        for place in wrong[: MAX_REPORTED_ROWS - len(job.faults)]:
            number = part.start + place - own.start + 1
            job.faults.append(f"row {number}: {', '.join(reasons(place, judged, cells, table))}")
        if not job.bad and own:
            start, stop = np.searchsorted(good, [own.start, own.stop]).tolist()
            found = records[start:stop]
            job.records.append(json.dumps(found)[1:-1])
            if table.task != REGRESSION:
                job.predictions.update(one[table.target.name] for one in found)
            if scored and logged[start:stop].any():
                job.kept.append((scored, (np.flatnonzero(logged[start:stop]) + start).tolist()))
        job.done = part.stop


def cells_of(parts: Sequence[Part], name: str) -> list[str | None]:
    return list(itertools.chain(*(part.cells(name) for part in parts)))


def score_rows(
    models: Models, frame: pd.DataFrame, parts: Sequence[Part], good: np.ndarray, explained: np.ndarray
) -> tuple[Scored, list[dict[str, Any]]]:
    """What was said of the judged rows `frame`, which are the `good` ones of the parts; and that as an answer has it.

    With a canary an answer says which version it is of. Those of the rows that are `explained` come with reasons.
    """
    table, rows = models.table, typed(frame[models.features] if models.keyed else frame, models.table)
    routed = np.zeros(len(rows), bool)
    if models.canary or models.log:
        if models.challenger:
            routed = in_canary(frame[table.key.name].map(text_of), models.canary)
        said = predict_rows(rows, routed, models.champion, models.challenger, reasons=False)
        shown = said if models.canary else said.drop(columns="model_version")
    else:
        said = shown = models.champion.predict(rows)
    shown = shown.astype({table.target.name: bool}) if table.target.type == "boolean" else shown
    cells = []
    if models.log:
        columns = (cells_of(parts, name) for name in models.log.columns)
        cells = [[column[place] for place in good] for column in columns]
    records: list[dict[str, Any]] = shown.to_dict("records")  # type: ignore[assignment]  # keys are text
    for model, own in ((models.champion, explained & ~routed), (models.challenger, explained & routed)):
        if model and own.any():
            for place, why in zip(np.flatnonzero(own), strongest(model, rows[own]), strict=True):
                records[place]["reasons"] = why
    return Scored(models, cells, rows, said), records


def keys_of(models: Models, frame: pd.DataFrame, cells: list[list[str | None]]) -> pd.Series:
    """What says which rows are the same one: their key, or all of their cells where the table has none."""
    if models.keyed:
        return frame[models.table.key.name].map(text_of)
    return pd.Series(list(map(str, zip(*cells, strict=True))))


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
