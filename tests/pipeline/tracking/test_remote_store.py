"""A pipeline on stores of other kinds, for real: MLflow's server with PostgreSQL, artifacts in S3, several at once."""

import os
import time
from collections.abc import Iterator

import boto3
import mlflow
import pytest

from tests import services
from tests.pipeline.conftest import AT_ONCE
from tests.services import BUCKET

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with services.postgresql() as address:
        yield address


@pytest.fixture(scope="module")
def tracking_server(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an `mlflow server` that keeps its runs in PostgreSQL and serves their artifacts itself."""
    with services.tracking_server(tmp_path_factory.mktemp("server"), postgresql) as address:
        yield address


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.s3(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def on_server(toy, tracking_server: str, monkeypatch: pytest.MonkeyPatch):
    """The toy pipeline on the server, in an experiment of the test's own, which is not there yet."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"at {time.time()}")
    mlflow.set_tracking_uri(tracking_server)
    return toy


@pytest.fixture
def on_s3(toy, s3: str, monkeypatch: pytest.MonkeyPatch):
    """The toy pipeline on a database of its own whose artifacts are in S3."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3)
    for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "mine"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "in S3")
    mlflow.MlflowClient().create_experiment("in S3", artifact_location=f"s3://{BUCKET}/{toy.folder.parent.name}")
    toy.config["pass_env"] = ["AWS_*"]
    return toy


@pytest.fixture(params=["on_server", "on_s3"])
def elsewhere(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


def test_what_is_made_elsewhere_is_reused_as_at_home(elsewhere):
    elsewhere.step("a")
    elsewhere.step("b", reads="a")
    elsewhere.config["outputs"] = ["${artifact:b,out.txt}"]
    elsewhere.save()
    assert elsewhere.run().code == 0
    assert elsewhere.states() == {"a": "executed", "b": "executed"}
    assert (elsewhere.folder / "outputs" / "out.txt").read_text() == "a\nb\n"
    assert elsewhere.run("b.text=other").code == 0
    assert elsewhere.states() == {"a": "reused", "b": "executed"}
    assert "parameter text b → other" in elsewhere.run("diff").out
    assert set(elsewhere.statuses()) == {"FINISHED"}
    failed = elsewhere.run("b.do=fail:no way")
    assert "b failed: no way" in failed.out
    assert "http" not in failed.out, "nothing of MLflow's own among what is said"


def test_a_file_in_s3_that_was_replaced_by_one_of_the_same_size_is_noticed(on_s3, s3):
    on_s3.step("a")
    on_s3.step("b", reads="a")
    assert on_s3.run().code == 0

    def written_anew(content: bytes) -> None:
        bucket = boto3.resource("s3", endpoint_url=s3).Bucket(BUCKET)
        (made,) = (one for one in bucket.objects.all() if f"{run_id}/artifacts/out.txt" in one.key)
        before = made.e_tag, made.size
        upload = made.Object().initiate_multipart_upload()  # whose ETag differs, whatever the content
        part = upload.Part(1).upload(Body=content)
        upload.complete(MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]})
        now = made.Object()
        assert (now.e_tag, now.content_length) == (now.e_tag, before[1]) and now.e_tag != before[0]

    run_id = on_s3.manifest()["steps"]["a"]["run_id"]
    written_anew(b"a\n")
    assert on_s3.run().code == 0
    assert on_s3.states() == {"a": "reused", "b": "reused"}, "where the ETag differs the content is looked at"
    written_anew(b"x\n")
    done = on_s3.run()
    assert on_s3.states() == {"a": "executed", "b": "reused"}
    assert f"out.txt of run {run_id[:8]} was altered in the store" in done.out


def test_several_pipelines_at_once_on_a_server_all_succeed(on_server):
    on_server.step("a")
    on_server.step("b", reads="a")
    on_server.all_succeed_at_once(AT_ONCE)
    runs = mlflow.search_runs(experiment_names=[os.environ["MLFLOW_EXPERIMENT_NAME"]], output_format="list")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert on_server.run().code == 0
    assert on_server.states() == {"a": "reused", "b": "reused"}
