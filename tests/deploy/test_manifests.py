"""The manifests in deploy/: what Kubernetes and Compose accept, and that they name what there is."""

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION = "1.33"
RESOURCES = [
    (path.name, resource)
    for path in sorted(KUBERNETES.glob("*.yaml"))
    for resource in yaml.safe_load_all(path.read_text())
    if resource["kind"] != "Kustomization"
]
COMPOSE = ROOT / "deploy" / "compose.yaml"
KSERVE = ROOT / "deploy" / "kserve.yaml"
# What a predictor of KServe 0.21 has beside what a pod has: no package carries the schema itself.
OF_KSERVE = {"minReplicas": int, "maxReplicas": int, "scaleMetric": str, "scaleTarget": int}


def pod_specs() -> list[dict]:
    found = []
    for _, resource in RESOURCES:
        spec = resource.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        found += [spec["template"]["spec"]] if "template" in spec else []
    return [*found, next(yaml.safe_load_all(KSERVE.read_text()))["spec"]["predictor"]]


def commands() -> list[list[str]]:
    """What the containers run, by Kubernetes and by Compose."""
    of_pods = [[*c["command"], *map(str, c["args"])] for spec in pod_specs() for c in spec["containers"]]
    services = yaml.safe_load(COMPOSE.read_text())["services"].values()
    return of_pods + [service["command"] for service in services if "command" in service]


@pytest.mark.parametrize(("file", "resource"), RESOURCES, ids=lambda one: one if isinstance(one, str) else one["kind"])
def test_kubernetes_accepts_each_resource(file, resource):
    kubernetes_validate.validate(resource, VERSION, strict=True)


def test_kserve_is_asked_for_the_pods_of_the_deployment_and_for_nothing_that_it_has_not():
    service, policy = yaml.safe_load_all(KSERVE.read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert list(service["spec"]) == ["predictor"]
    spec = service["spec"]["predictor"]
    assert all(isinstance(spec.pop(key), kind) for key, kind in OF_KSERVE.items())
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "scoring"}, "spec": spec}
    for resource in (pod, policy):
        kubernetes_validate.validate(resource, VERSION, strict=True)
    (deployment,) = (r for _, r in RESOURCES if (r["kind"], r["metadata"]["name"]) == ("Deployment", "scoring"))
    (container,), (other,) = spec["containers"], deployment["spec"]["template"]["spec"]["containers"]
    same = ("image", "command", "args", "env", "resources", "securityContext", "volumeMounts")
    assert {key: container[key] for key in same} == {key: other[key] for key in same}


def test_a_field_that_kubernetes_does_not_know_would_be_found():
    resource = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, VERSION, strict=True)


def test_kustomize_takes_every_file_there_is():
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted({file for file, _ in RESOURCES})


def test_an_image_is_built_by_what_is_there_and_where_nothing_is_that_is_said(tmp_path):
    for program in ("make", "bash", "sed"):
        (tmp_path / program).symlink_to(shutil.which(program))
    command = ["make", "--makefile", str(ROOT / "Makefile"), "image", "IMAGE=ours:1", "ARGS=--pull=never"]
    options = {"cwd": tmp_path, "env": {"PATH": str(tmp_path)}, "capture_output": True, "text": True}
    done = subprocess.run(command, **options)
    assert done.returncode and "built by one of buildah podman docker, and none is here" in done.stderr
    (tmp_path / "podman").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "podman").chmod(0o755)
    done = subprocess.run(command, **options)
    assert done.stdout == "build --file deploy/Containerfile --tag ours:1 --pull=never .\n"


def test_compose_accepts_its_file():
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(COMPOSE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_entry_points_parameters_and_settings_are_those_that_there_are():
    for command in commands():
        if command[:2] == ["mlflow", "run"]:
            entry_points = yaml.safe_load((ROOT / command[2] / "MLproject").read_text())["entry_points"]
            entry_point = entry_points[command[command.index("-e") + 1]]
            given = {text.partition("=")[0] for flag, text in pairwise(command) if flag == "-P"}
            assert given <= set(entry_point["parameters"])
        if command[:2] == ["python", "main.py"]:
            done = subprocess.run(
                [sys.executable, *command[1:], "--cfg", "job"], cwd=ROOT, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr


def test_probes_ask_for_what_the_servers_answer():
    containers = [container for spec in pod_specs() for container in spec["containers"]]
    probes = [part for container in containers for name, part in container.items() if name.endswith("Probe")]
    asked = {probe["httpGet"]["path"] for probe in probes}
    answered = re.findall(r'@app.get\("(/\w+)"', (ROOT / "inference" / "serving.py").read_text())
    assert asked == {"/ready", "/ping", "/health"} <= set(answered)  # MLflow's own server has /health, too


def test_no_container_may_more_than_it_must_and_no_secret_is_written_down():
    for spec in pod_specs():
        assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            values = {one["name"]: one.get("value") for one in container.get("env", [])}
            assert set(filter(None, values.values())) == set(filter(None, [values.get("MLFLOW_TRACKING_URI")]))
