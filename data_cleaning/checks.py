"""What was checked and what was found, over all chunks; as a table, as JSON and as HTML."""

import html
import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from cleaning import DUPLICATE, INCOMPLETE, ROW, Cleaned
from csv_reading import RaggedRow
from number_marks import NumberMarks
from page import cards, folded, page, table
from row_checks import rules
from table import Table, metric_name

MAX_EXAMPLES = 5  # first lines and values shown of each check
MIN_PROBABILITY = 0.001  # an empty column that is less likely than this by chance is a failure


@dataclass
class Check:
    """One rule for one column (or the whole row), and the rows that broke it."""

    column: str
    rule: str
    meaning: str
    rows: int = 0
    lines: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def add(self, lines: list[int], values: list[str], rows: int) -> None:
        self.rows += rows
        room = MAX_EXAMPLES - len(self.lines)
        self.lines += lines[:room]
        self.values += values[:room]


class Checks:
    """Counts over all chunks: rows in and out, every declared check with its first examples, gaps by column."""

    def __init__(self, columns: list[str], table: Table, *, require_target: bool) -> None:
        self.rows_in = self.rows_out = self.rejected = self.parsed = 0
        self.table, self.require_target = table, require_target
        self.checks = {(check.column, check.rule): check for check in declared_checks(columns, table, require_target)}
        self.missing: dict[str, int] = {}
        self.failures: list[str] = []
        self.notes: list[str] = []  # what was assumed of the file
        self.number_marks = NumberMarks(table)

    def add(self, cells: pd.DataFrame, lines: np.ndarray, ragged: list[RaggedRow], cleaned: Cleaned) -> None:
        """Count one chunk: its cells as they were, the line of each, and what became of them."""
        self.rows_in += len(cells) + len(ragged)
        self.parsed += len(cells)
        self.rows_out += len(cleaned.rows)
        self.number_marks.add(cells, lines)
        for (column, broken), positions in cleaned.findings.items():
            first = positions[:MAX_EXAMPLES]
            values = (
                cells[column].iloc[first].fillna("").str.lstrip(" ").tolist() if column in cells else [""] * len(first)
            )
            self.checks[column, broken].add(lines[first].tolist(), values, len(positions))
        if ragged:
            examples = [f"{len(row.cells)} cells" for row in ragged[:MAX_EXAMPLES]]
            self.checks[ROW, "ragged"].add([row.line for row in ragged[:MAX_EXAMPLES]], examples, len(ragged))
        for column, gaps in cleaned.missing.items():
            self.missing[column] = self.missing.get(column, 0) + gaps
        self.rejected = self.rows_in - self.rows_out - self.duplicates - self.incomplete

    def merge(self, other: "Checks") -> None:
        """Take in the counts of rows that come later in the file, of the same columns."""
        self.rows_in += other.rows_in
        self.parsed += other.parsed
        self.rows_out += other.rows_out
        self.rejected += other.rejected
        self.number_marks.merge(other.number_marks)
        for name, check in other.checks.items():
            self.checks[name].add(check.lines, check.values, check.rows)
        for column, gaps in other.missing.items():
            self.missing[column] = self.missing.get(column, 0) + gaps

    @property
    def duplicates(self) -> int:
        """Rows that repeat an earlier one, cell by cell."""
        return self.checks[ROW, DUPLICATE].rows

    @property
    def incomplete(self) -> int:
        """Rows dropped for a gap, with missing=drop."""
        return self.checks[ROW, INCOMPLETE].rows

    @property
    def share_rejected(self) -> float:
        return self.rejected / self.rows_in if self.rows_in else 0.0

    def find_failures(self, max_rejected: float) -> None:
        """Add to `failures` what makes the whole file unusable.

        An empty column does; among rows to be scored, it does not where so few may all lack it by chance.
        """
        roles = ("feature", "key", "target") if self.require_target else ("feature", "key")
        expected = {one.name: one.max_missing for one in self.table.clean_fields if one.role in roles}
        empty = [
            name
            for name, gaps in self.missing.items()
            if name in expected and gaps == self.parsed > 0
            if self.require_target or expected[name] ** self.parsed < MIN_PROBABILITY
        ]
        if self.rows_in == 0:
            self.failures.append("the input has a header but no rows; check that it is the whole file")
        if empty:
            noun = "column" if len(empty) == 1 else "columns"
            self.failures.append(f"{noun} {', '.join(empty)}: empty in every row; fill or correct the input")
        self.failures += self.number_marks.failures()
        if self.share_rejected > max_rejected:
            unclear = any(check.rule == "ambiguous_number" for check in self.failed_checks())
            hint = ", say decimalChar in the declaration (1,234 may be 1.234 or 1234)" if unclear else ""
            self.failures.append(
                f"{self.rejected} of {self.rows_in} rows were rejected ({self.rejection_summary()}), more than "
                f"max_rejected={max_rejected:g}; correct the input (see checks.html){hint}, or raise max_rejected"
            )
        elif self.rows_in and not self.rows_out and not empty and not self.duplicates:
            self.failures.append(f"none of the {self.rows_in} rows is left; use missing=keep, or another input")

    def rejection_summary(self) -> str:
        most_frequent = sorted(
            (check for check in self.failed_checks() if check.column != ROW or check.rule == "ragged"), key=by_row_count
        )
        parts = [f"{reason(check)} {check.rows}, first in line {check.lines[0]}" for check in most_frequent[:3]]
        return "; ".join(parts) + ("; …" if len(most_frequent) > 3 else "")

    def failed_checks(self) -> list[Check]:
        return [check for check in self.checks.values() if check.rows]

    def warnings(self) -> list[str]:
        """Columns with more gaps than were declared: reported, but no failure."""
        texts = []
        for name, gaps in self.missing.items():
            limit = self.table.by_name[name].max_missing if name in self.table.by_name else 1.0
            if name != self.table.target.name and self.parsed and gaps / self.parsed > limit:
                texts.append(f"{name}: {gaps / self.parsed:.1%} of the cells are empty; up to {limit:.0%} are expected")
        return texts

    def metrics(self) -> dict[str, float]:
        """The run's metrics; rows_in = rows_out + rejected + duplicates + incomplete."""
        figures: dict[str, float] = {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rejected": self.rejected,
            "share_rejected": self.share_rejected,
            "duplicates": self.duplicates,
            "incomplete": self.incomplete,
            "warnings": len(self.warnings()),
        }
        for check in self.failed_checks():
            if check.rule not in (DUPLICATE, INCOMPLETE) or check.column != ROW:
                figures[f"rejected_{metric_name(reason(check))}"] = check.rows
        return figures

    def as_text(self) -> str:
        """The broken checks as a table for the log."""
        rows = [("check", "rows", "share", "first lines", "first values")]
        for check in sorted(self.failed_checks(), key=by_row_count):
            values = ", ".join(repr(value[:20]) for value in check.values)
            lines = ", ".join(map(str, check.lines))
            rows.append((reason(check), str(check.rows), f"{check.rows / self.rows_in:.1%}", lines, values))
        widths = [max(len(row[place]) for row in rows) for place in range(5)]
        texts = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        broken = len(rows) - 1
        summary = f"{len(self.checks)} checks, {broken} broken"
        return "\n".join(
            [
                *(texts if broken else []),
                summary,
                *(f"note: {text}" for text in self.notes),
                *(f"warning: {text}" for text in self.warnings()),
            ]
        )

    def as_dict(self) -> dict[str, object]:
        return {
            "passed": not self.failures,
            "failures": self.failures,
            "notes": self.notes,
            "warnings": self.warnings(),
            "metrics": self.metrics(),
            "checks": [
                {
                    "column": check.column,
                    "rule": check.rule,
                    "meaning": check.meaning,
                    "rows": check.rows,
                    "first_lines": check.lines,
                    "first_values": check.values,
                }
                for check in self.checks.values()
            ],
            "missing": self.missing,
        }

    def json(self) -> str:
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"

    def html(self) -> str:
        verdict = "; ".join(self.failures) or "passed"
        texts = [f'<p class="{"bad" if self.failures else "good"}"><b>{html.escape(verdict)}</b></p>']
        texts += [f"<p>Note: {html.escape(text)}</p>" for text in self.notes]
        texts += [f"<p>Warning: {html.escape(text)}</p>" for text in self.warnings()]
        shown = ("rows_in", "rows_out", "rejected", "duplicates", "incomplete")
        texts.append(cards((name.replace("_", " "), f"{self.metrics()[name]:g}", "") for name in shown))
        rows = [
            (c.column, c.rule, c.meaning, c.rows, ", ".join(map(str, c.lines)), ", ".join(map(repr, c.values)))
            for c in sorted(self.checks.values(), key=by_row_count)
        ]
        broken, kept = [row for row in rows if row[3]], [row[:3] for row in rows if not row[3]]
        if broken:
            texts.append(table(("column", "rule", "meaning", "rows", "first lines", "first values"), broken, [3]))
        texts.append(folded(f"{len(kept)} checks that every row passed", table(("column", "rule", "meaning"), kept)))
        return page(f"Checks: {self.table.title or self.table.name}", "\n".join(texts))


def declared_checks(columns: list[str], table: Table, require_target: bool) -> list[Check]:
    """Every check there is for these columns, in the declaration's order; none has been broken yet."""
    checks = [
        Check(ROW, "ragged", "has as many cells as the header"),
        Check(ROW, DUPLICATE, "repeats no earlier row; the first one is kept"),
        Check(ROW, INCOMPLETE, "with missing=drop: has no gap"),
    ]
    for one in [one for one in table.clean_fields if one.name in columns]:
        needed = require_target if one.role == "target" else one.required
        checks += [Check(one.name, name, meaning) for name, meaning in rules(one, needed=needed).items()]
    again = "occurs once; a second row with the same value but other cells is rejected"
    return [*checks, Check(table.key.name, DUPLICATE, again)]


def reason(check: Check) -> str:
    """The check's name in metrics and messages, such as Age_out_of_range."""
    return check.rule if check.column == ROW else f"{check.column}_{check.rule}"


def by_row_count(check: Check) -> int:
    return -check.rows
