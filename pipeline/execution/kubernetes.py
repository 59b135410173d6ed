"""Steps as Jobs of a Kubernetes cluster, by its official Python client; see jobs.py for the rest.

one thread          asks the API for all jobs: makes and deletes them, lists their pods at growing intervals, and
                    fetches what they wrote since
the job             is one pod, never restarted, that does `python -m pipeline.remote RUN_ID` in an image; it sees the
                    tracking server, and no folder of ours
"""

import functools
import importlib.util
import json
import logging
import math
import queue
import signal
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import Step, has_type, kind
from pipeline.credentials import found_in
from pipeline.errors import RequestError, unknown
from pipeline.execution import jobs
from pipeline.execution.runner import Exit

AMOUNT, NAMES = (int, float, str), (str, list)
# What backend_config may hold; docs/clusters.md says what each is.
KEYS: dict[str, Any] = {
    "command": list, "cpu": AMOUNT, "gpus": int, "image": str, "image_pull_secrets": NAMES, "memory": AMOUNT,
    "namespace": str, "node_selector": dict, "pending": (int, float), "secrets": NAMES, "service_account": str,
    "time": (int, str), "tolerations": list, "tracking_uri": str, "ttl": int,
}  # fmt: skip
COMMAND = ("python", "-m", "pipeline.remote")
PENDING = 600.0  # seconds that a job waits for a node; a cluster may have to start a machine first
TTL = 3600  # seconds that a job that ended stays in Kubernetes
TERMINATION = 15  # seconds between the request to end and the end; less than jobs.STOP_GRACE
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0  # seconds between two looks at the pods: at their logs, too
REFUSALS = 2  # in a row, after which nothing more is asked
UNSEEN = 10.0  # seconds after which a job that has no pod is asked why
PATIENCE = (5.0, 30.0)  # seconds for a connection, and for an answer
# Why a container waits that will never start.
NEVER = {
    "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError",
}  # fmt: skip
LOST = {"NodeLost", "DeletionByTaintManager", "DeletionByPodGC"}
EVICTED = {"Evicted", "EvictionByEvictionAPI", "TerminationByKubelet", "Terminated", "NodeShutdown", "Shutdown"}
PREEMPTED = {"PreemptionByScheduler", "Preempting"}
NO_START = {"StartError", "ContainerCannotRun"}


@dataclass(frozen=True)
class Status:
    """What Kubernetes says of a job's pod."""

    state: str = "GONE"  # or PENDING, RUNNING, ENDED
    why: str = ""  # the reason, in Kubernetes' own word
    message: str = ""
    code: int | None = None  # the container's exit code
    node: str = ""
    never: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ("ENDED", "GONE")

    @property
    def is_last_word(self) -> bool:
        return self.state != "GONE"


def status_of(pod: Mapping[str, Any]) -> Status:
    """What a pod, as the API gives it, comes to."""
    told, node = pod.get("status", {}), pod["spec"].get("nodeName", "")
    conditions = {one["type"]: one for one in told.get("conditions") or ()}
    states: list[dict[str, Any]] = [one.get("state") or {} for one in told.get("containerStatuses") or ()]
    container = states[0] if states else {}
    ended, waiting = container.get("terminated") or {}, container.get("waiting") or {}
    disrupted = conditions.get("DisruptionTarget", {})
    disrupted = disrupted if disrupted.get("status") == "True" else {}
    deleted = "deletionTimestamp" in pod["metadata"]
    if told.get("phase") in ("Succeeded", "Failed") or ended or (deleted and disrupted) or told.get("reason") in LOST:
        by_kubernetes = next((one for one in (told, disrupted) if one.get("reason")), {})
        said = by_kubernetes or ({"reason": "Deleted"} if deleted else ended)
        return Status("ENDED", said.get("reason", ""), message_of(said), ended.get("exitCode"), node)
    if (why := waiting.get("reason", "")) in NEVER:
        never = f"Kubernetes will never start it ({why}: {message_of(waiting)}); see to image and secrets"
        return Status("PENDING", why, node=node, never=f"{never} in backend_config")
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return Status("PENDING", scheduled.get("reason", ""), message_of(scheduled))
    return Status("RUNNING" if "running" in container else "PENDING", node=node)


def message_of(said: Mapping[str, Any]) -> str:
    """What Kubernetes adds to a reason."""
    return first_line(said.get("message") or "")


def first_line(text: object) -> str:
    return str(text).strip().partition("\n")[0].rstrip(".")


@dataclass
class Watched:
    """A job that is looked after. Times are of the monotonic clock, in seconds."""

    job: jobs.ClusterJob[Status]
    namespace: str
    asked: float = 0.0  # when its pod was first looked for
    seen: bool = False  # whether it had a pod
    read: float = 0.0  # when its log was fetched
    last: bytes = b""  # the time of the last line that was

    def append(self, log: bytes) -> None:
        """Put lines, each with its time before it, behind those that are there already."""
        lines = [line.partition(b" ") for line in log.split(b"\n") if line]
        if fresh := [(stamp, text) for stamp, _, text in lines if stamp > self.last]:
            self.last = fresh[-1][0]
            with self.job.log.open("ab") as file:
                file.write(b"".join(text + b"\n" for _, text in fresh))


@dataclass
class Cluster(jobs.Cluster[Status]):
    """The jobs of this pipeline run, by one thread that asks for all of them."""

    watched: dict[str, Watched] = field(default_factory=dict)  # the thread's own
    session: str = field(default_factory=lambda: uuid.uuid4().hex)  # the label of all these jobs
    todo: queue.SimpleQueue[Callable[[], None] | None] = field(default_factory=queue.SimpleQueue)
    thread: threading.Thread | None = None
    error: BaseException | None = None
    refused: int = 0  # how often in a row the API would not say anything
    builds = False

    @staticmethod
    def is_shared(config: Mapping[str, Any]) -> bool:
        return False

    def command_for(self, order: jobs.Order) -> tuple[tuple[str, ...], str]:
        labels = {"app": "pipeline-step", "pipeline/session": self.session, "pipeline/run": order.run_id}
        wanted = job_object(order.name, order.run_id, order.uri, order.config, labels, self.bad_nodes)
        return (), json.dumps(wanted)

    def job(self, *given: Any) -> "KubernetesJob":
        return KubernetesJob(self, *given)

    def watch(self, job: jobs.ClusterJob[Status]) -> None:
        self.known[job.job_id] = Status("PENDING")
        self.do(functools.partial(self.create, job))

    def forget(self, job_id: str) -> None:
        def drop() -> None:
            self.watched.pop(job_id, None)

        self.do(drop)

    def hurry(self) -> None:
        self.do(lambda: None)

    def look(self) -> None:
        if self.error:
            raise self.error

    def cancel(self, job: jobs.ClusterJob[Status]) -> None:
        self.do(functools.partial(self.delete, job.ask.name, namespace_of(job.config)))

    def close(self) -> None:
        """Let the thread do what it still has to, and end."""
        if self.thread:
            self.todo.put(None)
            self.thread.join(PATIENCE[0])

    # What the thread does ---------------------------------------------------------------------------------------------

    def do(self, action: Callable[[], None]) -> None:
        """Have the thread do something, and look at the pods soon."""
        self.todo.put(action)
        if self.thread is None:
            self.thread = threading.Thread(target=self.work, name="kubernetes", daemon=True)
            self.thread.start()

    def work(self) -> None:
        """Do what is to be done, and look at the pods at growing intervals; what goes wrong, `look` raises."""
        pause = FIRST_PAUSE
        try:
            while True:
                try:
                    action = self.todo.get(timeout=pause if self.watched else None)
                except queue.Empty:
                    pause = min(pause * 1.25, LONGEST_PAUSE)
                    self.look_at_pods()
                else:
                    if action is None:
                        return
                    action()
                    pause = FIRST_PAUSE
        except Exception as error:
            self.error = error

    @functools.cached_property
    def core(self) -> Any:
        """The client of pods.

        Raises:
            ConfigException: nothing says where the cluster is.
        """
        from kubernetes import client, config

        try:
            config.load_kube_config()
        except config.ConfigException as error:
            try:
                config.load_incluster_config()
            except config.ConfigException:
                raise error from None
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of each connection made again
        return client.CoreV1Api()

    @functools.cached_property
    def batch(self) -> Any:
        """The client of Jobs."""
        from kubernetes import client

        return client.BatchV1Api(self.core.api_client)

    def create(self, job: jobs.ClusterJob[Status]) -> None:
        """Make a Job, and watch it."""
        wanted = json.loads(job.ask.script)
        namespace = wanted["metadata"]["namespace"]

        def ask() -> None:
            self.batch.create_namespaced_job(namespace, wanted, _request_timeout=PATIENCE)

        if (refusal := self.refusal(ask)) and "already exists" not in refusal:
            self.known[job.job_id] = Status("PENDING", never=refusal)
        else:
            self.watched[job.job_id] = Watched(job, namespace, asked=time.monotonic())

    def delete(self, name: str, namespace: str) -> None:
        """Delete a Job, and its pod with it; one that is not there is none."""
        self.refusal(
            lambda: self.batch.delete_namespaced_job(
                name, namespace, propagation_policy="Background", _request_timeout=PATIENCE
            )
        )

    def refusal(self, ask: Callable[[], None]) -> str:
        """Ask the API for something; what is wrong, in a sentence, "" where nothing is."""
        from kubernetes.client import ApiException
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError

        try:
            ask()
        except ConfigException as error:
            return f"nothing says where Kubernetes is ({first_line(error)}); set KUBECONFIG"
        except ApiException as error:
            return f"Kubernetes refused the job ({reason(error)}); correct backend_config, or run it elsewhere"
        except (HTTPError, OSError) as error:
            host = urllib.parse.urlsplit(self.core.api_client.configuration.host).netloc
            why = f"cannot be reached ({last_words(error)})"
            return f"the API of Kubernetes at {host} {why}; see to KUBECONFIG and the network"
        return ""

    def look_at_pods(self) -> None:
        """Learn what became of all jobs; an API that does not answer says nothing of anybody."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        for namespace in {one.namespace for one in self.watched.values()}:
            jobs_there = {name: one for name, one in self.watched.items() if one.namespace == namespace}
            try:
                pods = self.pods(namespace)
                for name, watched in jobs_there.items():
                    self.known[name] = self.look_at(watched, pods.get(name))
                self.refused = 0
            except ApiException as error:
                self.refused += error.status in (401, 403)
                for client in ("core", "batch"):  # what it signed in with may have run out
                    self.__dict__.pop(client, None)
                if self.refused > REFUSALS:
                    never = f"Kubernetes does not say what became of it ({reason(error)}); see to your role there"
                    self.known |= dict.fromkeys(jobs_there, Status("PENDING", never=never))
            except (HTTPError, OSError, ValueError):  # the last: whoever answered is no API
                continue

    def pods(self, namespace: str) -> dict[str, dict[str, Any]]:
        """The pods of all jobs, by their jobs' names."""
        found = self.core.list_namespaced_pod(
            namespace,
            label_selector=f"pipeline/session={self.session}",
            _preload_content=False,
            _request_timeout=PATIENCE,
        )
        return {pod["metadata"]["labels"]["job-name"]: pod for pod in json.loads(found.data)["items"]}

    def look_at(self, watched: Watched, pod: dict[str, Any] | None) -> Status:
        """What became of one job; what it wrote is in its log by then."""
        if pod is None:
            return self.without_pod(watched)
        watched.seen, status = True, status_of(pod)
        if status.state in ("RUNNING", "ENDED"):
            self.follow(watched, pod["metadata"]["name"])
        return status

    def follow(self, watched: Watched, pod: str) -> None:
        """Fetch what a pod wrote since; where it cannot be had now, it comes later, or with the run."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        now = time.monotonic()
        since = {"since_seconds": math.ceil(now - watched.read) + 1} if watched.read else {}
        try:
            said = self.core.read_namespaced_pod_log(
                pod, watched.namespace, timestamps=True, _preload_content=False, _request_timeout=PATIENCE, **since
            )
        except (ApiException, HTTPError):
            return
        watched.append(said.data)
        watched.read = now

    def without_pod(self, watched: Watched) -> Status:
        """What became of a job that has no pod: it is gone, or was not given one yet."""
        from kubernetes.client import ApiException

        if watched.seen:
            return Status()
        if time.monotonic() < watched.asked + UNSEEN:
            return Status("PENDING")
        watched.asked, name = time.monotonic(), watched.job.ask.name
        try:
            self.batch.read_namespaced_job(name, watched.namespace, _preload_content=False, _request_timeout=PATIENCE)
        except ApiException as error:
            if error.status == 404:
                return Status()
            raise
        selector = f"involvedObject.name={name},reason=FailedCreate"
        found = self.core.list_namespaced_event(
            watched.namespace, field_selector=selector, _preload_content=False, _request_timeout=PATIENCE
        )
        messages = [message_of(event) for event in json.loads(found.data)["items"]]
        if messages and "quota" not in messages[-1]:  # which others will give back
            never = f"Kubernetes will never start it ({messages[-1]}); correct backend_config"
            return Status("PENDING", never=never)
        return Status("PENDING", "NoPod", messages[-1]) if messages else Status("PENDING")


class KubernetesJob(jobs.ClusterJob[Status]):
    """A job of whose end Kubernetes, or its run, tells."""

    unscheduled: float = float("inf")  # since when there is no node for it

    def exit_of_job(self) -> Exit | None:
        status, now = self.cluster.known[self.job_id], time.monotonic()
        if status.why not in ("Unschedulable", "NoPod"):
            self.unscheduled = float("inf")
        elif self.unscheduled == float("inf"):
            self.unscheduled = now
            self.tell(f"job {self.job_id}: {status.message}")
        limit = float(self.config.get("pending", PENDING))
        if now > self.unscheduled + limit:
            self.cluster.cancel(self)
            why = f"Kubernetes found no place for it within {limit:g} s ({status.message})"
            return Exit(1, f"{why}; ask for less, or for more pending, in backend_config")
        return super().exit_of_job()

    def verdict(self, status: Status, code: int | None) -> Exit:
        """How a job ended that a signal ended, or its node, or that could not even say how."""
        code = status.code if code is None else code
        added = f" ({status.message})" if status.message else ""
        if status.why == "OOMKilled":
            given = self.asked("memory")
            return Exit(-signal.SIGKILL, f"it needed more memory than Kubernetes gave it ({given}); ask for more")
        if status.why == "DeadlineExceeded":
            return Exit(-signal.SIGTERM, f"Kubernetes ended it at its time limit ({self.asked('time')}); ask for more")
        if status.why in LOST:
            self.cluster.bad_nodes.add(status.node)
            return Exit(-signal.SIGKILL, f"its node {status.node} was lost", elsewhere=True)
        if status.why in PREEMPTED:
            return Exit(-signal.SIGTERM, "Kubernetes ended it in favour of another pod", elsewhere=True)
        if status.why in EVICTED:
            return Exit(-signal.SIGTERM, f"it was evicted from its node {status.node}{added}", elsewhere=True)
        if status.state == "GONE" or status.why == "Deleted":
            return Exit(-signal.SIGTERM, f"its job {self.job_id} was deleted in Kubernetes")
        if status.why in NO_START:
            return Exit(1, f"its command cannot be run in the image{added}; see to command in backend_config")
        if code is None:
            why = f"its node {status.node} could not run it ({status.why}{added})"
            return Exit(-signal.SIGKILL, why, elsewhere=True)
        if code == 0:
            return Exit(
                1, f"its job {self.job_id} ended and left no exit code in its run; see to command in backend_config"
            )
        return Exit(128 - code if code > 128 else code)


def reason(error: Any) -> str:
    """What the API said with its refusal."""
    try:
        return str(json.loads(error.body)["message"]).rstrip(".")
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def last_words(error: BaseException) -> str:
    """What an error of a connection, which has others in it, comes to."""
    inner = getattr(error, "reason", None)
    return last_words(inner) if isinstance(inner, BaseException) else str(error).rpartition(": ")[2].rpartition("] ")[2]


# What is submitted ---------------------------------------------------------------------------------------------------


def namespace_of(config: Mapping[str, Any]) -> str:
    """Where the job is made."""
    return str(config.get("namespace", "default"))


def job_object(
    name: str,
    run_id: str,
    uri: str,
    config: Mapping[str, Any],
    labels: Mapping[str, str],
    bad_nodes: Iterable[str] = (),
) -> dict[str, Any]:
    """The Job that does a step: no secret is in it, and nothing of it may more than it must."""
    amounts = {key: str(config[key]) for key in ("cpu", "memory") if key in config}
    limits = {key: amount for key, amount in amounts.items() if key == "memory"}
    if config.get("gpus"):
        limits["nvidia.com/gpu"] = str(config["gpus"])
    account = config.get("service_account")
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": TERMINATION,
        "automountServiceAccountToken": bool(account),
        "securityContext": {"runAsNonRoot": True, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "step",
                "image": config["image"],
                "command": [*jobs.as_words(config.get("command", COMMAND)), run_id],
                "env": [{"name": "MLFLOW_TRACKING_URI", "value": config.get("tracking_uri", uri)}],
                "envFrom": [{"secretRef": {"name": one}} for one in jobs.as_words(config.get("secrets", ()))],
                "resources": {"requests": amounts, "limits": limits},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 - of the image
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    if account:
        pod["serviceAccountName"] = str(account)
    if "time" in config:
        pod["activeDeadlineSeconds"] = seconds(config["time"])
    if "node_selector" in config:
        pod["nodeSelector"] = {key: str(value) for key, value in config["node_selector"].items()}
    if "tolerations" in config:
        pod["tolerations"] = list(config["tolerations"])
    if "image_pull_secrets" in config:
        pod["imagePullSecrets"] = [{"name": one} for one in jobs.as_words(config["image_pull_secrets"])]
    if bad_nodes:
        others = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in sorted(bad_nodes)]
        required = {"nodeSelectorTerms": [{"matchFields": others}]}
        pod["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace_of(config), "labels": dict(labels)},
        "spec": {
            "backoffLimit": 0,  # a second attempt is ours to make, in a run of its own
            "ttlSecondsAfterFinished": int(config.get("ttl", TTL)),
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


def seconds(limit: Any) -> int:
    """A time limit as Slurm has it: minutes, minutes:seconds, hours:minutes:seconds, with days- before it hours first.

    Raises:
        ValueError: it is none.
    """
    days, _, rest = str(limit).rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:
        parts = [*parts, 0, 0][:3]
    elif len(parts) < 3:
        parts = [0, *parts, 0][:3]
    hours, minutes, rest_seconds = parts
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest_seconds
    if total <= 0:
        raise ValueError(limit)
    return total


def check(steps: Iterable[Step], database: Path | None, local_artifacts: bool, uri: str) -> list[str]:
    """Look at what steps ask of Kubernetes, and whether pods will reach the store; warnings for a person to read.

    `database` is the store's file, where it is one; `local_artifacts`: they are files under a path of this machine.

    Raises:
        RequestError: a key that there is not, the client missing, a store that no other machine can use.
    """
    problems, warnings = [], []
    ours = [step for step in steps if step.backend == "kubernetes"]
    for step in ours:
        where, config = f"pipeline.{step.name}.backend_config", step.backend_config
        for key, value in config.items():
            if key not in KEYS:
                problems.append(unknown("key", key, KEYS, where))
            elif not has_type(value, KEYS[key]):
                problems.append(f"{where}.{key}={value!r} is not {kind(KEYS[key])}")
        if not config.get("image"):
            problems.append(f"{where} has no image, which is what the step runs in; `make image` makes one")
        try:
            seconds(config.get("time", 1))
        except ValueError:
            problems.append(f"{where}.time={config['time']} is no time; write 90 (minutes) or 1:30:00")
    if not ours:
        return []
    if importlib.util.find_spec("kubernetes") is None:
        remedy = "pip install -r requirements-remote.lock"
        problems.append(
            f"step {ours[0].name}: `backend: kubernetes` needs kubernetes, which is not installed: {remedy}"
        )
    if kept := jobs.kept_here(database, local_artifacts):
        problems.append(f"step {ours[0].name} runs in a pod, and what it needs is in {kept}; {jobs.REMEDY}")
    addresses = {str(step.backend_config.get("tracking_uri", uri)) for step in ours}
    if found := "".join(map(found_in, addresses)):
        remedy = "put MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD into a Secret that `secrets` names"
        problems.append(f"the address of the tracking server holds a secret ({found}), which Jobs would show; {remedy}")
    hosts = {urllib.parse.urlsplit(address).hostname for address in addresses}
    if here := sorted(host for host in hosts if host in ("localhost", "127.0.0.1", "::1")):
        warnings.append(f"a pod is its own {here[0]}: name the server as pods do, by tracking_uri in backend_config")
    if problems:
        raise RequestError(problems)
    return warnings
