"""What was answered, kept in pieces: CSV files that are written whole or not at all. No HTTP, no MLflow here.

A piece has the declared columns as they were sent (but no target, and nothing that is not declared), then what was
answered and by which version, then what the shadow model says of it. `served.py` makes a list of them, to be watched.
"""

import csv
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from batch_scoring import in_canary
from predictions import probability_columns
from step_error import StepError
from table import Table

SERVED, SHADOW = "served_", "shadow_"  # who said it
KEPT = 10  # pieces' rows that wait where none can be written; beyond it the oldest are lost
logger = logging.getLogger("inference")


def asked_columns(table: Table) -> list[str]:
    return [one.name for one in table.fields if one.role != "target"]


def answer_columns(table: Table) -> list[str]:
    return [table.target.name, *probability_columns(table), "model_version"]


def header(table: Table) -> list[str]:
    """The columns of a piece.

    Raises:
        StepError: one that is declared has the name of another.
    """
    asked, answers = asked_columns(table), [f"{by}{name}" for by in (SERVED, SHADOW) for name in answer_columns(table)]
    if both := [name for name in asked if name in answers]:
        raise StepError(f"{', '.join(both)} is declared and has the name of a column of the log; rename it")
    return [*asked, *answers]


class ServedLog:
    """A folder of pieces of at most `piece_rows` rows; each is closed when its first row is `piece_seconds` old."""

    def __init__(self, folder: Path, table: Table, share: float, piece_rows: int, piece_seconds: float) -> None:
        self.folder, self.share = folder, share
        self.piece_rows, self.piece_seconds = piece_rows, piece_seconds
        self.columns, self.header = asked_columns(table), header(table)
        self.rows: list[Sequence[object]] = []
        self.oldest = 0.0  # when the first of them came
        self.pieces, self.written, self.lost = 0, 0, 0
        self.lock, self.news, self.stopping = threading.Lock(), threading.Event(), False
        self.thread = threading.Thread(target=self.work, name="log", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """All that is left becomes a piece."""
        self.stopping = True
        self.news.set()
        self.thread.join(10)

    def chosen(self, keys: pd.Series) -> np.ndarray:
        """Which rows are kept: by a hash of their key, so the same ones every time."""
        return in_canary(keys, self.share, "log") if self.share < 1 else np.ones(len(keys), bool)

    def add(self, rows: Iterable[Sequence[object]]) -> None:
        """Keep rows of `header`'s cells; from any thread, and at once."""
        with self.lock:
            first = not self.rows
            self.rows += rows
            if first:
                self.oldest = time.monotonic()
            full = len(self.rows) >= self.piece_rows
        if first or full:
            self.news.set()

    def work(self) -> None:
        while not self.stopping:
            self.news.wait(None if not self.rows else max(0.0, self.oldest + self.piece_seconds - time.monotonic()))
            self.news.clear()
            if len(self.rows) >= self.piece_rows or time.monotonic() - self.oldest >= self.piece_seconds:
                self.close_pieces()
        self.close_pieces()

    def close_pieces(self) -> None:
        with self.lock:
            rows, self.rows, self.oldest = self.rows, [], time.monotonic()
        while rows:
            try:
                self.write(rows[: self.piece_rows])
            except OSError as error:  # a full disk must not cost an answer; it may be better the next time
                room = KEPT * self.piece_rows
                logger.error("%d answers could not be logged (%s)", len(rows), error.strerror)
                with self.lock:
                    self.rows = rows + self.rows
                    self.lost += max(0, len(self.rows) - room)
                    del self.rows[: max(0, len(self.rows) - room)]
                return
            del rows[: self.piece_rows]

    def write(self, rows: Sequence[Sequence[object]]) -> None:
        self.pieces += 1
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        path = self.folder / f"served-{now}Z-{os.getpid()}-{self.pieces}.csv"
        draft = path.with_name(f".{path.name}.part")
        try:
            with draft.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([self.header, *rows])
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self.written += len(rows)
