"""What Kubernetes is asked, and what is said of what it answers: the words; and steps as Jobs of an API of our own."""

import base64
import contextlib
import json
import shutil
import signal
from pathlib import Path

import mlflow
import pytest

from pipeline.config import Step
from pipeline.errors import RequestError
from pipeline.execution import jobs, kubernetes
from pipeline.execution.kubernetes import Cluster, KubernetesJob, Status, Watched, job_object, seconds, status_of
from pipeline.execution.runner import Exit
from pipeline.execution.task import Submission
from tests.pipeline.conftest import HANG, wait_until
from tests.services import needs, tracking_server

DEFAULT = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"  # of KUBECONFIG as it was at the import
CONFIG = {"image": "pipeline:1", "memory": "2Gi", "time": "1:30:00"}


def pod(phase: str = "Running", state: dict | None = None, condition: dict | None = None, **status) -> dict:
    """A pod as the API tells of it; `deleted` marks one that is on its way out."""
    metadata = {"name": "a-x"} | ({"deletionTimestamp": "2026-11-22T10:00:00Z"} if status.pop("deleted", 0) else {})
    told = {"phase": phase, "conditions": [condition] if condition else []} | status
    if state:
        told["containerStatuses"] = [{"name": "step", "state": state}]
    return {"metadata": metadata, "spec": {"nodeName": "n2"}, "status": told}


def disrupted(reason: str, message: str = "") -> dict:
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}


def over(reason: str, code: int, message: str = "") -> dict:
    return {"terminated": {"reason": reason, "exitCode": code, "message": message}}


def asked_for(cluster: Cluster, folder: Path, config: dict, tell=lambda text: None) -> KubernetesJob:
    """A job that has not been submitted yet, and leaves nothing with its run."""
    wanted = job_object("a-1", "1", "http://t", config, {"pipeline/session": cluster.session})
    ask = Submission(
        folder="", env_manager="", run_id="1", tracking_uri="", uploads={}, name="a-1", command=(),
        script=json.dumps(wanted), environ={}, log=str(folder / "a.log"), job_file="",
    )  # fmt: skip
    return KubernetesJob(cluster, None, ask, config, tell, outcome=lambda: None)


@pytest.fixture
def job(tmp_path) -> KubernetesJob:
    """A job whose pod the test tells of; its cluster asks nobody."""
    cluster = Cluster()
    cluster.do = lambda action: None
    made = asked_for(cluster, tmp_path, CONFIG)
    made.watch("a-1")
    return made


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        (pod("Failed", over("Error", 3)), Exit(3)),
        (pod("Failed", over("Error", 143)), Exit(-15)),
        (pod("Failed", over("OOMKilled", 137)),
         Exit(-9, "it needed more memory than Kubernetes gave it (memory: 2Gi in backend_config); ask for more")),
        (pod("Failed", over("Error", 143), reason="DeadlineExceeded", message="Pod was active on the node longer"),
         Exit(-15, "Kubernetes ended it at its time limit (time: 1:30:00 in backend_config); ask for more")),
        (pod("Running", {"running": {}}, disrupted("DeletionByTaintManager"), deleted=True),
         Exit(-9, "its node n2 was lost", elsewhere=True)),
        (pod("Failed", None, disrupted("DeletionByPodGC")), Exit(-9, "its node n2 was lost", elsewhere=True)),
        (pod("Failed", over("Error", 137), reason="Evicted", message="The node was low on resource: memory. Thres"),
         Exit(-15, "it was evicted from its node n2 (The node was low on resource: memory. Thres)", elsewhere=True)),
        (pod("Failed", over("Error", 143), disrupted("PreemptionByScheduler")),
         Exit(-15, "Kubernetes ended it in favour of another pod", elsewhere=True)),
        (pod("Failed", None, reason="OutOfcpu", message="Node didn't have enough resource: cpu"),
         Exit(-9, "its node n2 could not run it (OutOfcpu (Node didn't have enough resource: cpu))", elsewhere=True)),
        (pod("Failed", over("StartError", 128, 'exec: "pythn": none\n')),
         Exit(1, 'its command cannot be run in the image (exec: "pythn": none); see to command in backend_config')),
        (pod("Failed", over("Error", 143), deleted=True), Exit(-15, "its job a-1 was deleted in Kubernetes")),
        (pod("Succeeded", over("Completed", 0)),
         Exit(1, "its job a-1 ended and left no exit code in its run; see to command in backend_config")),
        (pod("Pending", {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}),
         Exit(1, "Kubernetes will never start it (ImagePullBackOff: not found); see to image and secrets in "
                 "backend_config")),
        (pod("Pending", {"waiting": {"reason": "ErrImagePull"}}), None),  # it is tried again
        (pod("Pending", {"waiting": {"reason": "ContainerCreating"}}), None),
        (pod("Running", {"running": {}}), None),
        (pod("Running", {"running": {}}, deleted=True), None),  # it has its grace
    ],
)  # fmt: skip
def test_each_end_has_its_sentence(job, resource, said):
    job.cluster.known["a-1"] = status_of(resource)
    assert job.ended() == said


def test_what_the_job_left_with_its_run_is_how_it_ended(job):
    job.outcome = lambda: 0
    job.cluster.known["a-1"] = status_of(pod("Succeeded", over("Completed", 0)))
    assert job.ended() == Exit(0)


def test_a_job_that_is_gone_may_have_left_its_end_with_its_run(job):
    job.cluster.known["a-1"] = Status()
    assert job.ended() is None
    job.lost -= jobs.LAG + 1
    assert job.ended() == Exit(-15, "its job a-1 was deleted in Kubernetes")


def test_a_node_that_was_lost_is_left_out_by_the_next_job(job):
    job.cluster.known["a-1"] = Status("ENDED", "NodeLost", node="n2")
    job.ended()
    affinity = job_object("a-2", "1", "http://t", CONFIG, {}, job.cluster.bad_nodes)["spec"]["template"]["spec"][
        "affinity"
    ]
    (term,) = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n2"]}]}


def test_a_job_that_no_node_takes_says_so_and_is_given_up_in_the_end(job):
    told = []
    job.tell = told.append
    job.cluster.known["a-1"] = Status("PENDING", "Unschedulable", "0/3 nodes are available")
    assert job.ended() is None and job.ended() is None
    assert told == ["job a-1: 0/3 nodes are available"], "once"
    job.unscheduled -= kubernetes.PENDING + 1
    exit = job.ended()
    assert exit.why.startswith("Kubernetes found no place for it within 600 s (0/3 nodes are available); ask for less")


def test_lines_that_come_twice_are_written_once(job):
    watched = Watched(job, "default")
    watched.append(b"2026-11-22T10:00:00.1Z one\n2026-11-22T10:00:00.2Z 40%\r50%\n")
    watched.append(b"2026-11-22T10:00:00.2Z 40%\r50%\n2026-11-22T10:00:01.0Z \n2026-11-22T10:00:02.0Z three\n")
    assert job.log.read_bytes() == b"one\n40%\r50%\n\nthree\n"


def test_backend_config_becomes_a_job_that_kubernetes_accepts_and_that_holds_no_secret():
    import kubernetes_validate

    config = CONFIG | {
        "namespace": "ml", "cpu": 2, "gpus": 1, "node_selector": {"gpu": True}, "service_account": "step",
        "secrets": ["s3"], "image_pull_secrets": "registry", "ttl": 60, "tracking_uri": "http://tracking:5000",
        "tolerations": [{"key": "gpu", "operator": "Exists"}], "command": ["python3", "-m", "pipeline.remote"],
    }  # fmt: skip
    job = job_object("a-1", "r1", "http://localhost", config, {"app": "pipeline-step"}, ["n1", "n3"])
    kubernetes_validate.validate(job, "1.37", strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python3", "-m", "pipeline.remote", "r1"]
    assert container["env"] == [{"name": "MLFLOW_TRACKING_URI", "value": "http://tracking:5000"}]
    assert container["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "2Gi"},
        "limits": {"memory": "2Gi", "nvidia.com/gpu": "1"},
    }
    assert pod["activeDeadlineSeconds"] == 5400 and job["spec"]["ttlSecondsAfterFinished"] == 60
    assert job["spec"]["backoffLimit"] == 0 and pod["restartPolicy"] == "Never", "a second attempt is ours to make"


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [(90, 5400), ("90", 5400), ("2:30", 150), ("1:30:00", 5400), ("1-6", 108000), ("1-0:30", 88200)],
)
def test_a_time_limit_is_written_as_for_slurm(limit, wanted):
    assert seconds(limit) == wanted


def step(**config) -> Step:
    return Step("a", backend="kubernetes", backend_config={"image": "pipeline"} | config)


@pytest.mark.parametrize(
    ("config", "uri", "sentence"),
    [
        ({"memry": "1Gi"}, "http://t", "'memry' in pipeline.a.backend_config: did you mean memory"),
        ({"image": ""}, "http://t", "pipeline.a.backend_config has no image, which is what the step runs in; `make"),
        ({"pending": "long"}, "http://t", "pipeline.a.backend_config.pending='long' is not a number"),
        ({"time": "soon"}, "http://t", r"pipeline.a.backend_config.time=soon is no time; write 90 \(minutes\) or"),
        ({}, "http://me:s3cr3t@t", "holds a secret .*, which Jobs would show; put MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(config, uri, sentence):
    with pytest.raises(RequestError, match=sentence):
        kubernetes.check([step(**config)], None, False, uri)


def test_a_store_that_pods_cannot_use_is_told_before_anything_starts(monkeypatch):
    with pytest.raises(RequestError, match=r"step a runs in a pod, and what it needs is in the SQLite file /p/m.db"):
        kubernetes.check([step()], Path("/p/m.db"), True, "sqlite:////p/m.db")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"needs kubernetes, .* pip install -r requirements-remote\.lock"):
        kubernetes.check([step()], None, False, "http://t")
    assert kubernetes.check([Step("a")], None, True, "") == [], "nobody needs it"


def test_a_server_that_pods_would_look_for_in_themselves_is_a_warning(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    (warning,) = kubernetes.check([step()], None, False, "http://127.0.0.1:5000")
    assert warning.startswith("a pod is its own 127.0.0.1: name the server as pods do, by tracking_uri")
    assert kubernetes.check([step(tracking_uri="http://tracking:5000")], None, False, "http://127.0.0.1:5000") == []


def test_an_api_that_is_not_there_and_a_kubeconfig_that_is_not_are_sentences(job, tmp_path, monkeypatch):
    needs("kubernetes")

    def told(kubeconfig: Path) -> str:
        monkeypatch.setattr(DEFAULT, str(kubeconfig))
        cluster = Cluster()
        cluster.create(job)
        return cluster.known["a-1"].never

    assert told(tmp_path / "none").startswith("nothing says where Kubernetes is (")
    config = {
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}], "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    assert told(tmp_path / "config") == (
        "the API of Kubernetes at 127.0.0.1:9 cannot be reached (Connection refused); see to KUBECONFIG and the network"
    )


def test_an_api_that_does_not_say_what_became_of_jobs_is_told_and_one_that_is_away_is_waited_for(
    job, tmp_path, monkeypatch
):
    needs("kubernetes", "kubernetes_validate")
    from tests.pipeline import kubernetes_api

    cluster = job.cluster
    with kubernetes_api.served(kubernetes_api.Cluster(tmp_path, {})) as kubeconfig:
        monkeypatch.setattr(DEFAULT, str(kubeconfig))
        cluster.create(job)
        cluster.look_at_pods()
        assert cluster.known["a-1"].why == "ImagePullBackOff"
    waits = cluster.known["a-1"]
    cluster.look_at_pods()
    assert cluster.known["a-1"] == waits, "what is not known has not changed"
    monkeypatch.setattr(kubernetes_api, "TOKEN", "another")
    with kubernetes_api.served(kubernetes_api.Cluster(tmp_path, {})) as kubeconfig:
        del cluster.core
        kubeconfig.write_text(kubeconfig.read_text().replace("another", "of nobody"))
        for _ in range(kubernetes.REFUSALS + 1):
            assert not cluster.known["a-1"].never.startswith("Kubernetes does not say")
            cluster.look_at_pods()
    assert cluster.known["a-1"].never.startswith("Kubernetes does not say what became of it (Unauthorized)")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"image": "pipline:1"}, 'will never start it (ImagePullBackOff: Back-off pulling image "pipline:1"); see to'),
        ({"secrets": ["yours"]}, 'will never start it (CreateContainerConfigError: secret "yours" not found); see to'),
        ({"service_account": "nobody"}, 'is forbidden: serviceaccount "nobody" not found); correct backend_config'),
        ({"gpus": 8, "pending": 0.1}, "found no place for it within 0.1 s (0/2 nodes are available: 2 Insufficient nv"),
        ({"namespace": "elsewhere"}, 'Kubernetes refused the job (namespaces "elsewhere" not found); correct backend_'),
        ({"command": ["pythn"]}, 'its command cannot be run in the image (exec: "pythn": executable file not found'),
    ],
)
def test_a_job_that_will_never_start_is_told_and_deleted(config, sentence, tmp_path, monkeypatch):
    needs("kubernetes", "kubernetes_validate")
    from tests.pipeline import kubernetes_api

    monkeypatch.setattr(kubernetes, "UNSEEN", 0.0)
    api = kubernetes_api.Cluster(tmp_path, {"pipeline:1": tmp_path})
    with kubernetes_api.served(api) as kubeconfig, contextlib.closing(Cluster()) as cluster:
        monkeypatch.setattr(DEFAULT, str(kubeconfig))
        job = asked_for(cluster, tmp_path, CONFIG | config)
        job.watch("a-1")
        wait_until(lambda: job.ended(), lambda: "it never ended")
    assert sentence in job.exit.why
    assert cluster.error is None
    assert (not api.jobs) == ("command" not in config), "one that ended itself stays for its ttl"


# With a real client, a real server, and pods that are processes ---------------------------------------------------

READING = """
import os, sys
from pathlib import Path

text = Path(sys.argv[sys.argv.index("--text") + 1]).read_text()
Path(os.environ["STEP_OUTPUTS"], "out.txt").write_text(text + os.environ["SECRET"][:1])
"""


@pytest.fixture(scope="module")
def server(empty_store, tmp_path_factory):
    """The address of a tracking server."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "server.db")
    with tracking_server(folder, f"sqlite:///{folder / 'server.db'}") as uri:
        yield uri


@pytest.fixture
def on_kubernetes(toy, kubernetes, server, monkeypatch, request):
    """The toy pipeline on it, in an experiment of the test's own."""
    kubernetes.secrets["mine"] = {"SECRET": "s3cr3t"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.name)
    monkeypatch.setenv("SECRET", "s of home")
    mlflow.set_tracking_uri(server)
    toy.config |= {"backend": "kubernetes", "backend_config": {"image": "pipeline:1", "secrets": "mine"}}
    return toy


@pytest.mark.integration
def test_pods_do_what_local_steps_do_and_each_end_is_told(on_kubernetes, kubernetes):
    toy = on_kubernetes
    (toy.folder / "list.txt").write_text("one\ntwo\n")
    toy.step("a_file", parameters={"text": "list.txt"}, pass_env=["SECRET"])
    (toy.folder / "a_file" / "run.py").write_text(READING)
    toy.step("b", reads="a_file")
    toy.step("fails", parameters={"do": "fail:no way"})
    toy.step("small", backend_config={"memory": "1Mi"})
    toy.step("long", parameters={"do": "sleep:600"}, backend_config={"time": "0:01"})
    done = toy.run()
    assert done.code == 1
    states = toy.states()
    assert [name for name, state in states.items() if state == "executed"] == ["a_file", "b"]
    for sentence in (
        "fails failed: no way",
        "small failed: it needed more memory than Kubernetes gave it (memory: 1Mi in backend_config)",
        "long failed: Kubernetes ended it at its time limit (time: 0:01 in backend_config)",
    ):
        assert sentence in done.out
    assert [path.name for path in kubernetes.images["pipeline:1"].iterdir()] == ["pipeline"], (
        "a pod may write to /tmp only"
    )
    told = json.dumps(kubernetes.posted)
    assert not any(one in told for one in ("s3cr3t", base64.b64encode(b"s3cr3t").decode(), "of home"))
    there = toy.manifest()["steps"]
    assert mlflow.artifacts.load_text(f"runs:/{there['b']['run_id']}/out.txt") == "one\ntwo\nsb\n"

    assert toy.run("steps=[a_file,b]", "backend=local").code == 0
    assert toy.states() == {"a_file": "reused", "b": "reused"}, "where it ran does not count"


LASTING = """
import os, sys, time
from pathlib import Path

marker = Path(sys.argv[sys.argv.index("--text") + 1])
print("at work", flush=True)
if not marker.exists():
    marker.touch()
    time.sleep(600)
Path(os.environ["STEP_OUTPUTS"], "out.txt").write_text("done")
"""


@pytest.mark.integration
def test_a_job_whose_node_is_lost_is_done_on_another_and_one_that_is_not_wanted_is_deleted(on_kubernetes, kubernetes):
    toy = on_kubernetes
    toy.step("a", parameters={"text": str(toy.folder / "begun")})
    (toy.folder / "a" / "run.py").write_text(LASTING)
    process = toy.start()
    wait_until((toy.folder / "begun").exists, lambda: "it never began")
    kubernetes.lose("n1")
    out, err = process.communicate(timeout=HANG)
    assert process.returncode == 0, out + err
    assert "attempt 1 failed (its node n1 was lost)" in out
    assert [pod.node for pod in kubernetes.pods.values()] == ["n1", "n2"]

    toy.step("a", parameters={"do": "sleep:600"})
    process = toy.start("verbose=true")
    toy.wait_for("at work", process)  # its log is followed
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HANG)
    name = kubernetes.posted[-1]["metadata"]["name"]
    assert kubernetes.deleted == [(name, "Background")]
    assert name not in kubernetes.pods, "it had ended when the pipeline did"
