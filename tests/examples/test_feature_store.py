"""examples/feature_store: training sees what was known at the time, and the server what training would see now."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import requests
from pandas.testing import assert_frame_equal

from pipeline.execution.mlflow_internals import environment_of
from tests.pipeline.conftest import HANG
from tests.services import free_port, process, wait_for_answer

KEY, MOMENT = "driver_id", "event_timestamp"
FEATURES = ["conv_rate", "acc_rate", "avg_daily_trips"]
FURTHER = (  # the same repository once more, and one whose online store is ten days behind
    "+pipeline.again.extends=features",
    "+pipeline.again.cache=false",
    "+pipeline.again.after=[skew]",  # one after the other: each takes over what the one before has imported
    "+pipeline.stale.extends=features",
    "+pipeline.stale.parameters.until=2026-01-20T00:00:00",
    "+pipeline.stale.after=[again]",
    "+pipeline.stale_skew.extends=skew",
    "+pipeline.stale_skew.parameters.repository=${artifact:stale,repository}",
)
# As protobuf has it: one of on_demand_feature_views, whose spec has a user_defined_function, whose body is an x.
WITH_A_FUNCTION = b"\x42\x07\x0a\x05\x2a\x03\x12\x01x"
TTL = pd.Timedelta(days=7)  # as definitions.py has it

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def feast() -> None:
    """Where the steps' environment can be built."""
    asked = ["uv", "pip", "compile", "--quiet", "--no-deps", "--python-version", "3.11", "-"]
    if subprocess.run(asked, input="feast==0.67.0", text=True, capture_output=True).returncode:
        pytest.skip("feast 0.67.0 cannot be had from a package index here")


def test_features_are_those_of_the_moment_in_training_and_the_same_at_the_server(project, run, feast):
    """One test and one pipeline, since each that imports Feast takes seconds."""
    done = run("python", "main.py", "--config-dir", "examples/feature_store", *FURTHER)
    outputs = project / "examples" / "feature_store" / "outputs"
    values, trips = (pd.read_csv(outputs / name, parse_dates=[MOMENT]) for name in ("driver_stats.csv", "trips.csv"))

    # Registered twice, the same bytes; and an online store that is behind is found out.
    steps = json.loads((outputs / "manifest.json").read_text())["steps"]
    assert steps["features"]["outputs"] == steps["again"]["outputs"]
    assert [name for name, step in steps.items() if step["state"] != "executed"] == ["stale_skew"]
    assert "values online are not those of training at 2026-01-30 05:47:26+00:00, more than max_skewed=0" in done.out

    # In training: the newest value that was known at the trip's moment, if it is not too old. Pandas says the same.
    made = pd.read_csv(outputs / "training_data.csv", parse_dates=[MOMENT])
    assert_frame_equal(made, pd.merge_asof(trips, values, on=MOMENT, by=KEY, tolerance=TTL))
    later = values.groupby(KEY, as_index=False).last().drop(columns=MOMENT)
    assert (made.conv_rate != trips.merge(later, how="left", on=KEY).conv_rate).mean() > 0.8, (
        "what came later is not used"
    )
    assert made[FEATURES].isna().all(axis=1).sum() > 80, "of new drivers, and of those of whom nothing came for long"

    # At the server: the same as in training, to the last bit.
    assert "values 120  skewed_values 0  predictions 40  skewed_predictions 0" in done.out
    assert (outputs / "online.csv").read_bytes() == (outputs / "point_in_time.csv").read_bytes()
    now = pd.DataFrame({KEY: sorted(set(trips[KEY])), MOMENT: values[MOMENT].max()})
    expected = pd.merge_asof(now, values, on=MOMENT, by=KEY, tolerance=TTL).drop(columns=MOMENT)
    online = pd.read_csv(outputs / "online.csv")
    assert_frame_equal(online[[KEY, *FEATURES]], expected)
    served = pd.DataFrame(asked_of_the_server(project, online[KEY].tolist()))
    assert_frame_equal(served, online, check_dtype=False, check_exact=True)

    # Feast pickles functions and runs them on opening: a repository that holds one is not opened.
    step = project / "examples" / "feature_store" / "features"
    (project / "registry.db").write_bytes(WITH_A_FUNCTION)
    python = environment_of(str(step))[1] / "bin" / "python"
    given = ["--repository", ".", "--model", "none", "--host", "127.0.0.1", "--port", "1"]
    done = run(str(python), str(step / "serve.py"), *given)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "holds functions, which Feast pickles; define features without" in done.err


def asked_of_the_server(project: Path, drivers: list[int]) -> list[dict[str, float]]:
    address, log = f"127.0.0.1:{(port := free_port())}", project / "serve.log"
    given = ["--config-dir", "examples/feature_store", "steps=[serve]", f"serve.port={port}"]
    command = [sys.executable, "main.py", *given]
    with log.open("w") as file, process(command, signal.SIGINT, cwd=project, stdout=file, stderr=file):
        wait_for_answer(f"http://{address}/health", log)
        refused = requests.post(f"http://{address}/predict", json={"driver_ids": []}, timeout=HANG)
        assert refused.status_code == 422
        answered = requests.post(f"http://{address}/predict", json={"driver_ids": drivers}, timeout=HANG)
        return answered.json()
