"""Small shifts that last: what is added up, when it is looked at, and how often it is a false alarm."""

import numpy as np
import pandas as pd
import pytest
from drift import CATEGORY, MISSING, NUMBER, TEXT
from lasting import Shift, add_up, shifts

ALPHA = 0.01


def of(kind: str, before: list, after: list) -> dict[str, Shift]:
    return {one.name: one for one in shifts("x", kind, pd.Series(before), pd.Series(after), 0.05)}


def test_scores_are_ranks_of_quantities_and_shares_of_values_and_gaps():
    quantity = of(NUMBER, [1.0, 2.0, 3.0, 4.0, None], [4.5, 2.0])["x"]
    assert quantity.mean == pytest.approx((1 + 0.375) / 2 - 0.5)
    assert (quantity.rows, quantity.reference_rows) == (2, 4)
    gaps = of(MISSING, [1.0, None, 3.0, 4.0], [None, None])["x missing"]
    assert (gaps.mean, gaps.reference) == (0.75, 0.25)
    values = of(CATEGORY, ["a"] * 10 + ["b"] * 6 + [None] * 4, ["a", "c"])
    assert {name: one.mean for name, one in values.items()} == pytest.approx({"x a": 0, "x b": -0.3, "x missing": -0.2})
    assert list(of(CATEGORY, ["a", "b"], ["a"])) == ["x a"], "of two values one tells all"
    assert of(TEXT, ["a"], ["b"]) == {} == of(NUMBER, [1.0], [float("nan")])


def test_rows_that_go_together_count_for_less():
    before, after = pd.Series([0.0, 1.0] * 50), pd.Series(np.repeat([0.0, 1.0] * 10, 5))
    groups = None, pd.Series(np.repeat(np.arange(20), 5))
    (one,) = shifts("x", NUMBER, before, after, 0.05, groups)
    assert one.rows == pytest.approx(20, abs=1)


def test_it_is_looked_at_when_lists_have_doubled_and_each_look_costs_more():
    one = Shift("x", 0.1, 100, 0.5, 800, 0.05)
    found = {count: add_up([one], [{"x": (0.1, 100.0)}] * (count - 1), ALPHA) for count in range(1, 17)}
    assert [count for count, findings in found.items() if findings] == [2, 4, 8, 16]
    for look, count in enumerate((2, 4, 8, 16), 1):
        (finding,) = found[count]
        assert finding.adjusted_p_value == pytest.approx(min(1, look * (look + 1) * finding.p_value))
        assert (finding.name, finding.test) == ("x lasting", f"sum of {count} lists")
    assert not found[2][0].drifted and found[16][0].drifted
    assert not add_up([Shift("x", 0.04, 1e6, 0.5, 1e6, 0.05)], [{}], ALPHA)[0].drifted, "too small to matter"


def test_only_a_loss_of_quality_is_one():
    better, worse = (Shift("accuracy", mean, 2000, 0.2, 900, 0.05, one_sided=True) for mean in (-0.1, 0.1))
    assert [add_up([one], [{}], ALPHA)[0].drifted for one in (better, worse)] == [False, True]


def test_where_nothing_changes_hardly_a_life_has_an_alarm():
    """Lives of 16 lists of 60 rows against one reference, which is itself a draw: two shares and a rank."""
    random, alarms, shares = np.random.default_rng(0), 0, (0.3, 0.02)
    for _ in range(300):
        known = [*(random.binomial(900, share) / 900 for share in shares), random.normal(0.5, np.sqrt(1 / 12 / 900))]
        past: list[dict[str, tuple[float, float]]] = []
        for _ in range(16):
            day = [*(random.binomial(60, share) / 60 for share in shares), random.normal(0.5, np.sqrt(1 / 12 / 60))]
            today = [
                Shift(name, new - old, 60, old, 900, 0, variance)
                for name, new, old, variance in zip("abc", day, known, (None, None, 1 / 12), strict=True)
            ]
            if any(finding.drifted for finding in add_up(today, past, 0.05)):
                alarms += 1
                break
            past.append({one.name: (one.mean, one.rows) for one in today})
    assert alarms <= 24, "5 % of 300, and what chance may add"
