"""What a broken export does to a table is told from a table of the same kind, for every task."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from data_faults import faults
from declaration import parse_declaration
from table import BINARY, MULTICLASS, REGRESSION, Table

from tests.example_tables import rows, table

TASKS = [BINARY, MULTICLASS, REGRESSION]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def with_weight(task: str) -> Table:
    """The orders, each with a weight: a number of other size than its size."""
    content = table(task).content
    return parse_declaration(content | {"fields": [*content["fields"], {"name": "weight", "type": "number"}]}, "o.yaml")


def orders(task: str, count: int, seed: int) -> pd.DataFrame:
    return rows(task, count, seed).assign(weight=np.random.default_rng(seed).lognormal(1, 1, count).round(2))


def found(task: str, change: Change, old: int = 300, new: int = 300, seed: int = 1) -> list[str]:
    of = with_weight(task)
    columns = [one.name for one in of.features]
    return faults(of, columns, orders(task, old, 0), change(orders(task, new, seed)), 50)


@pytest.mark.parametrize("task", TASKS)
def test_another_table_of_the_same_kind_has_no_faults(task: str) -> None:
    assert [said for seed in range(1, 6) for said in found(task, lambda frame: frame, seed=seed)] == []


FAULTS: list[tuple[Change, str]] = [
    (lambda frame: frame.assign(weight=frame["weight"] * 20), "weight is of another size: half are from "),
    (lambda frame: frame.assign(colour="red"), "colour is red in 100% of the 300 orders to train on, and in 3"),
    (lambda frame: frame.assign(returned=1.0), "returned is true in 100%"),
    (lambda frame: frame.assign(size=np.nan), "size is empty in 100% of the 300 orders to train on, and in 1"),
    (lambda frame: frame.assign(shop=frame["shop"].str.removeprefix("shop ")), "shop has 'shop' in 0% of"),
    (lambda frame: frame.assign(shop=frame["shop"].str.upper()), "shop has 'shop' in 0% of"),
    (lambda frame: frame.assign(size=frame["weight"], weight=frame["size"]), "size and weight look swapped in the 300"),
]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("change", "said"), FAULTS, ids=[said.partition("%")[0][:30] for _, said in FAULTS])
def test_what_an_export_breaks_is_told_by_column_and_by_how_much(task: str, change: Change, said: str) -> None:
    (reason,) = found(task, change)
    assert reason.startswith(said)


def test_a_target_of_another_size_is_told_too() -> None:
    (reason,) = found(REGRESSION, lambda frame: frame.assign(price=frame["price"] * 20))
    assert reason.startswith("price is of another size")


def test_a_faulty_piece_of_a_long_table_is_found_among_the_rows_that_came_since() -> None:
    def append(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([orders(BINARY, 3000, 0), frame.assign(weight=frame["weight"] * 20)])

    (reason,) = found(BINARY, append, old=3000, new=100)
    assert "in the 100 new orders" in reason
    assert found(BINARY, append, old=3000, new=49) == [], "too few to tell"


def test_what_only_drifts_is_no_fault() -> None:
    def drift(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(size=(frame["size"] + 15).clip(upper=100), weight=frame["weight"] * 1.5, sold="2031-01-01")

    assert found(BINARY, drift, new=1000) == []
