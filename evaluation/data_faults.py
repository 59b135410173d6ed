"""Whether a new training table looks as if something had gone wrong with it, beside the champion's. No MLflow here.

A model that learned from faulty rows is right about faulty rows, so that no score tells. What is looked for is not
drift, which is a reason to train again, but what a broken export does and the world hardly ever: columns that are
swapped, empty or all the same, words that are gone, values of another size. Each must be surer than chance (`SURE`,
rows of a group taken together) and large.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
from drift import CATEGORY, MISSING, NUMBER, TEXT, Finding, column_kinds, comparable, compare_values
from grouped_rows import Groups, group_codes
from table import DATE_FORMATS, REGRESSION, Table

SURE = 1e-4  # p-value of one test; a table has some dozens of them
SURE_OF_TWO = 1e-5  # product of the p-values of two columns, of which either says that they are swapped
NEARER = 0.7  # by so much their new values must be nearer to each other's old ones than to their own
LARGE = 0.5  # distance of two distributions, 0 to 1: that of numbers whose middle halves do not touch
COMMON, GONE = 0.1, 0.1  # share of the texts that have a word; what is left of it where the word is gone
MOST_ROWS = 20_000  # of either table that are looked at; more do not tell more


def faults(table: Table, columns: Sequence[str], before: pd.DataFrame, after: pd.DataFrame, min_new: int) -> list[str]:
    """A sentence for each fault of `columns`, or of the target, in the training rows `after`; none: nothing is found.

    `before` are the champion's, both as `Table.read` gives them. Where all together look well, those that came since
    (`min_new` of them or more) are looked at alone: in a long table a faulty piece of it does not show.
    """
    found = compared(table, columns, before, after, f"the {len(after)} {table.rows} to train on")
    new = after[~after[table.key.name].isin(set(before[table.key.name]))]
    if found or not min_new <= len(new) < len(after):
        return found
    return compared(table, columns, before, new, f"the {len(new)} new {table.rows}")


def compared(table: Table, columns: Sequence[str], before: pd.DataFrame, after: pd.DataFrame, where: str) -> list[str]:
    before, after = (
        rows.sample(min(len(rows), MOST_ROWS), random_state=0, ignore_index=True) for rows in (before, after)
    )
    kinds = {name: kind for name, kind in column_kinds(table, before).items() if name in columns}
    # Dates go on: new ones are never as the old ones were, and may all be of one day.
    kinds = {name: MISSING if table.by_name[name].type in DATE_FORMATS else kind for name, kind in kinds.items()}
    kinds[table.target.name] = NUMBER if table.task == REGRESSION else CATEGORY
    old, new = comparable(table, before, kinds), comparable(table, after, kinds)
    return Compared(table, kinds, old, new, (group_codes(table, before), group_codes(table, after)), where).faults()


@dataclass(frozen=True)
class Compared:
    """Two tables, as `drift.comparable` has them, and what each column is compared by."""

    table: Table
    kinds: dict[str, str]
    old: pd.DataFrame
    new: pd.DataFrame
    groups: Groups
    where: str  # which rows the new ones are, for people

    def faults(self) -> list[str]:
        tests = {name: self.test(kind, self.old[name], self.new[name]) for name, kind in self.kinds.items()}
        changes = {name: test for name, test in tests.items() if test}
        swapped = [pair for pair in combinations(changes, 2) if self.swapped(*pair, changes)]
        found = [f"{' and '.join(pair)} look swapped in {self.where}" for pair in swapped]
        others = [name for name in self.kinds if not any(name in pair for pair in swapped)]
        return found + [said for name in others if (said := self.fault(name, changes.get(name)))]

    def test(self, kind: str, old: pd.Series, new: pd.Series) -> Finding | None:
        """How two columns differ; None where there is too little to compare."""
        return None if kind == MISSING else compare_values("", kind, old, new, 0, self.groups)

    def swapped(self, one: str, other: str, changes: dict[str, Finding]) -> bool:
        """Whether two columns have changed, and are nearer to what the other one was."""
        if changes[one].p_value * changes[other].p_value >= SURE_OF_TWO:
            return False
        types = {self.table.by_name[name].type.replace("integer", "number") for name in (one, other)}
        if len(types) > 1:
            return False
        kind = self.kinds[one]
        if kind != self.kinds[other]:
            kind = NUMBER if types == {"number"} else TEXT

        def distance(before: str, after: str) -> float:
            old, new = self.old[before], self.new[after]
            if kind == NUMBER:
                old, new = old.astype(float), new.astype(float)
            found = compare_values("", kind, old, new, 0, self.groups)
            return found.statistic if found else 1.0

        own = distance(one, one) + distance(other, other)
        return distance(one, other) + distance(other, one) < NEARER * own

    def fault(self, name: str, change: Finding | None) -> str:
        """What is wrong with a column, in a sentence; "" where nothing is."""
        old, new = self.old[name], self.new[name]
        if gaps := self.share_changed(f"{name} is empty", old.isna(), new.isna(), 0 if new.isna().all() else LARGE):
            return gaps
        if (
            self.kinds[name] != MISSING
            and new.nunique(dropna=False) == 1
            and (same := self.value_changed(name, new.iloc[0]))
        ):
            return same
        if self.kinds[name] == TEXT and (gone := self.word_gone(name)):
            return gone
        if change is None or change.p_value >= SURE or change.statistic < LARGE:
            return ""
        if self.kinds[name] == TEXT:
            return f"{name} has another form (length, words or digits) in {self.where} than in the champion's table"
        if self.kinds[name] == CATEGORY:
            shares = new.value_counts(normalize=True).sub(old.value_counts(normalize=True), fill_value=0)
            return self.value_changed(name, shares.abs().idxmax())
        ours, theirs = (cells.quantile([0.25, 0.75]).map("{:.4g}".format) for cells in (new, old))
        return (
            f"{name} is of another size: half are from {' to '.join(ours)} in {self.where}, "
            f"from {' to '.join(theirs)} in the champion's table"
        )

    def word_gone(self, name: str) -> str:
        """Which word many texts had, and hardly any has now: the most frequent one."""
        old, new = (cells.dropna().str.split().map(set) for cells in (self.old[name], self.new[name]))
        counts = [Counter(word for words in cells for word in words) for cells in (old, new)]
        for word, count in sorted(counts[0].items(), key=lambda item: (-item[1], item[0])):
            share, left = count / len(old), counts[1][word] / max(1, len(new))
            if share < COMMON:
                break
            has_word = [cells.map({word}.issubset) for cells in (old, new)]
            if left < GONE * share and (told := self.share_changed(f"{name} has {word!r}", has_word[0], has_word[1])):
                return told
        return ""

    def value_changed(self, name: str, value: object) -> str:
        return self.share_changed(f"{name} is {value}", self.old[name] == value, self.new[name] == value)

    def share_changed(self, what: str, old: pd.Series, new: pd.Series, least: float = 0) -> str:
        """In a sentence, of how many `what` is true (booleans); "" where chance explains it, or it is not large."""
        change = abs(new.mean() - old.mean())
        found = self.test(CATEGORY, old, new) if change > least else None
        if found is None or found.p_value >= SURE:
            return ""
        return f"{what} in {new.mean():.0%} of {self.where}, and in {old.mean():.0%} of the champion's table"
