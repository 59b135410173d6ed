"""What tests have for a Kubernetes cluster: an API server on loopback, whose pods are processes of this machine.

It takes what the published schema takes, gives each Job one pod on one of its nodes, and runs the container's command
in the folder that stands for its image, with the environment that the Job says, and nothing else of this process's.
"""

import contextlib
import datetime
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

VERSION = "1.37"
TOKEN = "of-these-tests"  # noqa: S105 - of this server alone
LEAST = 64  # MiB of memory: a container with less is killed for that


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def mebibytes(amount: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(Ki|Mi|Gi)", amount).groups()
    return float(number) * {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}[unit]


class Refused(Exception):
    """An answer of the API that is none of the good ones."""

    def __init__(self, code: int, message: str):
        self.code, self.message = code, message


@dataclass
class Pod:
    """A pod, and the process that is its container."""

    resource: dict[str, Any]
    lines: list[tuple[float, str, bytes]] = field(default_factory=list)  # when, the same as text, what was written
    process: subprocess.Popen[bytes] | None = None

    @property
    def status(self) -> dict[str, Any]:
        return self.resource["status"]

    @property
    def node(self) -> str:
        return self.resource["spec"].get("nodeName", "")

    def state(self, **state: dict[str, Any]) -> None:
        self.status["containerStatuses"] = [{"name": "step", "state": state}]

    def signal(self, number: signal.Signals) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def terminate(self) -> None:
        """Ask the container to end, which it is made to after its grace."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.resource["spec"]["terminationGracePeriodSeconds"])
        self.signal(signal.SIGKILL)

    def condition(self, kind: str, status: str, reason: str, message: str = "") -> None:
        self.status["conditions"].append({"type": kind, "status": status, "reason": reason, "message": message})


@dataclass
class Cluster:
    """`images`: the folder of each; `secrets`: the variables of each."""

    folder: Path
    images: Mapping[str, Path]
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    nodes: tuple[str, ...] = ("n1", "n2")
    gpus: int = 0  # of all nodes
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)  # by their jobs' names
    posted: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[tuple[str, str]] = field(default_factory=list)  # the names of jobs, and what went with them
    events: list[dict[str, Any]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    def create(self, namespace: str, job: dict[str, Any]) -> dict[str, Any]:
        try:
            kubernetes_validate.validate(job, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refused(422, f"Job is invalid: {error.message}") from None
        name = job["metadata"]["name"]
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name) or job["metadata"]["namespace"] != namespace:
            raise Refused(422, f"Job {name!r} is invalid: metadata")
        if namespace != "default":
            raise Refused(404, f'namespaces "{namespace}" not found')
        if name in self.jobs:
            raise Refused(409, f'jobs.batch "{name}" already exists')
        self.posted.append(job)
        self.jobs[name] = job
        spec = json.loads(json.dumps(job["spec"]["template"]["spec"]))
        if account := spec.get("serviceAccountName"):
            message = f'Error creating: pods "{name}-" is forbidden: serviceaccount "{account}" not found'
            self.events.append({"involvedObject": {"name": name}, "reason": "FailedCreate", "message": message})
            return job
        metadata = {
            "name": f"{name}-x2x4x",
            "labels": job["spec"]["template"]["metadata"]["labels"] | {"job-name": name},
        }
        self.pods[name] = pod = Pod(
            {"metadata": metadata, "spec": spec, "status": {"phase": "Pending", "conditions": []}}
        )
        self.schedule(pod)
        return job

    def schedule(self, pod: Pod) -> None:
        spec = pod.resource["spec"]
        (container,) = spec["containers"]
        affinity = spec.get("affinity", {}).get("nodeAffinity", {})
        terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [{}])
        not_on = {one["values"][0] for one in terms[0].get("matchFields", ()) if one["operator"] == "NotIn"}
        nodes = [node for node in self.nodes if node not in not_on]
        if int(container["resources"]["limits"].get("nvidia.com/gpu", 0)) > self.gpus or not nodes:
            message = f"0/{len(self.nodes)} nodes are available: {len(self.nodes)} Insufficient nvidia.com/gpu."
            pod.condition("PodScheduled", "False", "Unschedulable", message)
            return
        spec["nodeName"] = nodes[0]
        if container["image"] not in self.images:
            pod.state(
                waiting={"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{container["image"]}"'}
            )
            return
        names = [one["secretRef"]["name"] for one in container["envFrom"]]
        if missing := [name for name in names if name not in self.secrets]:
            message = f'secret "{missing[0]}" not found'
            pod.state(waiting={"reason": "CreateContainerConfigError", "message": message})
            return
        # How the libraries of this machine are to take its processor: the last bits of a model depend on it.
        environ = {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}
        environ |= {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "HOME": str(self.folder)}
        environ["TMPDIR"] = tempfile.mkdtemp(dir=self.folder)
        environ |= {key: value for name in names for key, value in self.secrets[name].items()}
        environ |= {one["name"]: one["value"] for one in container["env"]}
        program = shutil.which(container["command"][0], path=environ["PATH"])
        if program is None:
            message = f'exec: "{container["command"][0]}": executable file not found in $PATH'
            pod.state(terminated={"reason": "StartError", "message": message, "exitCode": 128})
            pod.status["phase"] = "Failed"
            return
        pod.process = subprocess.Popen(
            [program, *container["command"][1:]], env=environ, cwd=self.images[container["image"]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        pod.status["phase"] = "Running"
        pod.state(running={"startedAt": now()})
        threading.Thread(target=self.attend, args=(pod,), daemon=True).start()
        if mebibytes(container["resources"]["limits"].get("memory", "1Gi")) < LEAST:
            pod.signal(signal.SIGKILL)
        if limit := spec.get("activeDeadlineSeconds"):
            threading.Timer(limit, self.end, (pod, "DeadlineExceeded")).start()

    def attend(self, pod: Pod) -> None:
        """Take down what a container writes, and how it ends."""
        with pod.process.stdout as written:
            for line in written:
                pod.lines.append((time.time(), now(), line))
                time.sleep(1e-5)  # no two at the same time
        code = pod.process.wait()
        with self.lock:
            reason = {0: "Completed", -9: "OOMKilled"}.get(code, "Error")
            pod.state(terminated={"reason": reason, "exitCode": 128 - code if code < 0 else code})
            pod.status["phase"] = "Succeeded" if code == 0 else "Failed"

    def end(self, pod: Pod, reason: str) -> None:
        """Have the kubelet end a pod."""
        if pod.process.poll() is None:
            pod.status.update(reason=reason, message="Pod was active on the node longer than the specified deadline")
            pod.terminate()

    def lose(self, node: str) -> None:
        """A node is gone, with all that ran there; what it still had to say nobody hears."""
        for pod in self.pods.values():
            if pod.node == node and pod.status["phase"] == "Running":
                with self.lock:
                    pod.resource["metadata"]["deletionTimestamp"] = now()
                    pod.condition("DisruptionTarget", "True", "DeletionByTaintManager", "Taint manager: deleting")
                pod.signal(signal.SIGKILL)

    def delete(self, name: str, policy: str) -> dict[str, Any]:
        if self.jobs.pop(name, None) is None:
            raise Refused(404, f'jobs.batch "{name}" not found')
        self.deleted.append((name, policy))
        if (pod := self.pods.get(name)) and policy in ("Background", "Foreground"):
            pod.resource["metadata"]["deletionTimestamp"] = now()
            threading.Thread(target=self.clear, args=(name, pod), daemon=True).start()
        return {"kind": "Status", "status": "Success"}

    def clear(self, name: str, pod: Pod) -> None:
        """Take a deleted pod away when its container has ended."""
        if pod.process:
            pod.terminate()
        with self.lock:
            self.pods.pop(name, None)

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Any:
        """What the API answers: a resource, or a pod's log."""
        parts = path.strip("/").split("/")
        match [method, *parts]:
            case ["POST", "apis", "batch", "v1", "namespaces", namespace, "jobs"]:
                return self.create(namespace, json.loads(body))
            case ["DELETE", "apis", "batch", "v1", "namespaces", _, "jobs", name]:
                return self.delete(
                    name, query.get("propagationPolicy") or json.loads(body or b"{}").get("propagationPolicy", "")
                )
            case ["GET", "apis", "batch", "v1", "namespaces", _, "jobs", name] if name in self.jobs:
                return self.jobs[name]
            case ["GET", "api", "v1", "namespaces", _, "pods"]:
                key, _, value = query["labelSelector"].partition("=")
                found = [
                    pod.resource for pod in self.pods.values() if pod.resource["metadata"]["labels"].get(key) == value
                ]
                return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": found}
            case ["GET", "api", "v1", "namespaces", _, "pods", name, "log"]:
                since = time.time() - float(query.get("sinceSeconds", "inf"))
                (pod,) = (one for one in self.pods.values() if one.resource["metadata"]["name"] == name)
                return b"".join(f"{stamp} ".encode() + line for at, stamp, line in pod.lines if at >= since)
            case ["GET", "api", "v1", "namespaces", _, "events"]:
                name = query["fieldSelector"].partition("involvedObject.name=")[2].partition(",")[0]
                found = [event for event in self.events if event["involvedObject"]["name"] == name]
                return {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": found}
        raise Refused(404, f"there is no {method} {path}")


@contextlib.contextmanager
def served(cluster: Cluster) -> Iterator[Path]:
    """The API on loopback; the kubeconfig that leads there."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            address = urllib.parse.urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            code = 200
            try:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refused(401, "Unauthorized")
                with cluster.lock:
                    query = dict(urllib.parse.parse_qsl(address.query))
                    found = cluster.answer(self.command, address.path, query, body)
            except Refused as refused:
                code, found = refused.code, {"kind": "Status", "message": refused.message, "code": refused.code}
            text = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if isinstance(found, bytes) else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        entry = {"cluster": "c", "user": "u"}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "tests",
            "contexts": [{"name": "tests", "context": entry}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        }  # fmt: skip
        (place := cluster.folder / "kubeconfig").write_text(yaml.safe_dump(config))
        try:
            yield place
        finally:
            server.shutdown()
            for pod in list(cluster.pods.values()):
                pod.signal(signal.SIGKILL)
