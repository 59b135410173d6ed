"""Rows whose key was seen before, over any number of chunks, in 16 bytes a row."""

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
        if sorted_ids[0] <= self.highest:
            for run_ids, run_hashes in self.runs:
                place = np.minimum(np.searchsorted(run_ids, sorted_ids), len(run_ids) - 1)
                found = run_ids[place] == sorted_ids
                original[found] = run_hashes[place[found]]
                first &= ~found
        self.remember(sorted_ids[first], sorted_hashes[first])
        new, same = np.empty(len(ids), bool), np.empty(len(ids), bool)
        new[order], same[order] = first, ~first & (original == sorted_hashes)
        return new, same

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
