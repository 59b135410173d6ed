"""Figures as people read them."""

import pytest

from pipeline.reporting.tables import format_number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (901.0, "901"),
        (0.8063, "0.806"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (1e300, "1e+300"),
    ],
)
def test_any_metric_can_be_shown(value, shown):
    assert format_number(value) == shown
