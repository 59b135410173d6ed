"""The pipeline of config.yaml on the table of dataset.yaml, as a user starts it."""

import pytest

pytestmark = pytest.mark.integration


def test_every_step_runs_and_the_second_time_none_needs_to(run, manifest):
    assert run("python", "main.py").code == 0
    assert {step["state"] for step in manifest()["steps"].values()} == {"executed"}
    assert run("python", "main.py").code == 0
    assert {step["state"] for step in manifest()["steps"].values()} == {"reused"}
