"""Work that is shared among processes: in order, with its errors, and never waiting for one that is gone."""

import operator
import os
import time

import pytest
from step_error import StepError
from workers import Workers, in_order

pytestmark = pytest.mark.integration


def test_results_come_in_the_order_of_their_parts() -> None:
    with Workers(2, 0.1) as workers:
        futures = (workers.submit(operator.mul, number) for number in (3, 1, 2))
        assert list(in_order(futures, 2)) == pytest.approx([0.3, 0.1, 0.2])
        assert len(workers.processes) == 2
    assert all(process.returncode is not None for process in workers.processes)


def test_an_error_comes_back_and_the_others_go_on() -> None:
    with Workers(1, 6) as workers:
        wrong, right = workers.submit(operator.floordiv, 0), workers.submit(operator.floordiv, 3)
        with pytest.raises(ZeroDivisionError):
            wrong.result()
        assert right.result() == 2


def test_a_worker_that_ends_is_told_in_a_sentence() -> None:
    with Workers(1, 9) as workers, pytest.raises(StepError, match=r"^one of the 1 workers has ended with exit code 9"):
        workers.submit(os._exit).result()


def test_leaving_ends_what_is_under_way() -> None:
    start = time.monotonic()
    with Workers(1, 3600.0) as workers:
        assert workers.submit(operator.neg).result() == -3600
        workers.submit(time.sleep)
    assert time.monotonic() - start < 1800
    assert [process.returncode for process in workers.processes] == [-9]
