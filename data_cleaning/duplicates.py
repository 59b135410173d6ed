"""Rows whose key was seen before, over any number of chunks, in 16 bytes a row."""

from collections.abc import Iterator

import numpy as np


class DuplicateDetector:
    """The IDs of earlier rows, each with a hash of its row, in a few sorted runs.

    A new chunk becomes a run; runs of like size are merged, so that there are never more than about log2(chunks).
    """

    def __init__(self) -> None:
        self.runs: list[tuple[np.ndarray, np.ndarray]] = []
        self.highest = -1

    def add(self, ids: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each row: is its ID new; if not, is it the same row as the first of that ID. Then remember the new ones.

        Args:
            ids: int64, not negative; shape (rows,).
            hashes: uint64 of the whole row; shape (rows,).
        """
        if len(ids) == 0:
            return np.ones(0, bool), np.zeros(0, bool)
        order = np.argsort(ids, kind="stable")
        sorted_ids, sorted_hashes = ids[order], hashes[order]
        first = np.r_[True, sorted_ids[1:] != sorted_ids[:-1]]
        original = sorted_hashes[first][np.cumsum(first) - 1]  # the hash of the first row of the same ID
        for found, run_hashes in self.look_up(sorted_ids):
            original[found] = run_hashes
            first &= ~found
        self.remember(sorted_ids[first], sorted_hashes[first])
        new, same = np.empty(len(ids), bool), np.empty(len(ids), bool)
        new[order], same[order] = first, ~first & (original == sorted_hashes)
        return new, same

    def look_up(self, sorted_ids: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Which of the IDs are remembered, and the hash of each of these, run by run."""
        if len(sorted_ids) == 0 or sorted_ids[0] > self.highest:
            return
        for run_ids, run_hashes in self.runs:
            place = np.minimum(np.searchsorted(run_ids, sorted_ids), len(run_ids) - 1)
            found = run_ids[place] == sorted_ids
            yield found, run_hashes[place[found]]

    def __bool__(self) -> bool:
        """Whether any row is remembered."""
        return bool(self.runs)

    def absorb(self, later: "DuplicateDetector") -> "DuplicateDetector":
        """Remember what was new in rows that come later; the one returned has what of it was known."""
        known = DuplicateDetector()
        for ids, hashes in later.runs:
            new = np.ones(len(ids), bool)
            for found, run_hashes in self.look_up(ids):
                known.remember(ids[found], run_hashes)
                new &= ~found
            self.remember(ids[new], hashes[new])
        return known

    def remember(self, ids: np.ndarray, hashes: np.ndarray) -> None:
        if len(ids) == 0:
            return
        self.highest = max(self.highest, int(ids[-1]))
        while self.runs and len(self.runs[-1][0]) <= 2 * len(ids):
            run_ids, run_hashes = self.runs.pop()
            in_order = run_ids[-1] < ids[0]
            ids, hashes = np.concatenate([run_ids, ids]), np.concatenate([run_hashes, hashes])
            if not in_order:
                order = np.argsort(ids, kind="stable")  # timsort: merges two sorted halves in linear time
                ids, hashes = ids[order], hashes[order]
        self.runs.append((ids, hashes))
