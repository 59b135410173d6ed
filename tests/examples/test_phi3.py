"""examples/phi3: answers are checked against the list, and a tiny model answers alike in both ways."""

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import pandas as pd
import pytest
from openai import BadRequestError, OpenAI

from tests.conftest import ROOT

HERE = ROOT / "examples" / "phi3"
FACT = "Yes, probably: 3 of 4 women in first class survived."
FACTS = {"refusal": "No.", "facts": [{"answer": FACT, "words": [["woman", "lady"], ["first"]], "ages": [15, 120]}]}
ASKED = "Explain 0.19: Sex +0.16, Pclass -0.14"


def module(path: str) -> ModuleType:
    """A module of a step, which is a folder of its own."""
    spec = importlib.util.spec_from_file_location(f"phi3_{Path(path).stem}", HERE / path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("question", "answer", "given"),
    [
        ("Would a 29-year-old woman in first class survive?", FACT, True),
        ("Would a lady in first class survive?", FACT, True),
        ("Would a 29-year-old man in first class survive?", FACT, False),
        ("Would a 9-year-old woman in first class survive?", FACT, False),
        ("Would a woman in third class survive?", FACT, False),
        ("Would a 29-year-old woman in first class survive?", FACT.replace("3 of", "2 of"), False),
        ("What is the capital of France?", FACT, False),
        (ASKED, "The model gives 0.19: Sex +0.16 for, Pclass -0.14 against survival.", True),
        (ASKED, "The model gives 0.19: Sex +0.16 for, Pclass -0.15 against survival.", False),
        (ASKED, "The model gives 0.19: Sex +0.16 against, Pclass -0.14 against survival.", False),
        (ASKED, "The model gives 0.19: Sex +0.16 for survival.", False),
        (ASKED, "The model gives 0.19: Age +0.16 for, Pclass -0.14 against survival.", False),
    ],
)
def test_an_answer_whose_numbers_neither_list_nor_question_has_is_refused(question, answer, given):
    assert module("wrap_onnx/guard.py").checked(question, answer, FACTS) == (answer if given else "No.")


def test_what_questions_are_answered_by_is_counted_on_the_list(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE / "questions"))
    passengers = pd.DataFrame(
        {"Survived": [1, 1, 0, 0, 1], "Pclass": 1, "Sex": ["female"] * 3 + ["male"] * 2, "Age": [30, None, 20, 40, 9]}
    )
    known = module("questions/make_questions.py").facts(passengers)
    assert known[0]["answer"] == "Yes, probably: 2 of 3 women in first class survived."
    assert known[3]["answer"] == "Probably not: 0 of 1 men in first class survived."
    assert known[6]["answer"] == "Yes, probably: 1 of 1 children in first class survived."


@pytest.fixture
def torch_for_the_cpu(monkeypatch):
    """Where uv finds a PyTorch without CUDA, for the steps' environment."""
    if folder := os.environ.get("PIP_FIND_LINKS"):  # uv does not look where pip does
        monkeypatch.setenv("UV_FIND_LINKS", folder)
    elif "UV_FIND_LINKS" not in os.environ:
        monkeypatch.setenv("UV_TORCH_BACKEND", "cpu")
    asked = ["uv", "pip", "compile", "--quiet", "--python-version", "3.11", "-"]
    if subprocess.run(asked, input="torch==2.13.0", text=True, capture_output=True).returncode:
        pytest.skip("torch 2.13.0 cannot be had here: examples/phi3/README.md says what is needed")


def test_steps_that_need_pytorch_share_one_environment():
    steps = ("model_source", "wrap_transformers", "wrap_onnx", "compare")
    for file in ("conda.yml", "requirements.lock"):
        assert len({(HERE / step / file).read_bytes() for step in steps}) == 1, f"each has the same {file}"


@pytest.mark.integration
def test_a_tiny_model_is_trained_compared_gated_and_served(project, store, torch_for_the_cpu):
    command = [sys.executable, "main.py", "--config-dir", "examples/phi3"]
    first = subprocess.run([*command, "model_source.steps=150"], cwd=project, timeout=1200)
    assert first.returncode == 0
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    compared = next(one for one in runs if "equal_tokens_fp32" in one.data.metrics)
    assert compared.data.metrics["equal_tokens_fp32"] == 1
    assert compared.data.metrics["promoted"] == 1
    assert compared.data.metrics["right"] > 0.2
    answers = pd.read_csv(mlflow.artifacts.download_artifacts(run_id=compared.info.run_id, artifact_path="answers.csv"))
    facts = next(one for one in runs if "facts" in one.data.metrics)
    path = mlflow.artifacts.download_artifacts(run_id=facts.info.run_id, artifact_path="facts.json")
    allowed = json.loads(Path(path).read_text())
    rows = answers[answers.kind != "explanation"]
    assert set(rows.checked) <= {allowed["refusal"], *(one["answer"] for one in allowed["facts"])}
    assert champion() == "1"
    for name in ("phi3-mini-onnx", "phi3-mini-onnx-chat", "phi3-mini-transformers"):
        logged = next(one for one in mlflow.search_logged_models(output_format="list") if one.name == name)
        model = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
        suffixes = {file.suffix for file in model.rglob("*") if file.is_file()}
        assert suffixes & {".onnx", ".safetensors"} and not suffixes & {".pkl", ".pickle", ".bin", ".pt"}, "no pickle"

    second = subprocess.run([*command, "model_source.steps=40"], cwd=project, timeout=600)
    assert second.returncode == 0
    assert champion() == "1", "version 2 answers less"

    port = free_port()
    process = subprocess.Popen(
        ["mlflow", "run", "examples/phi3/serve", "--env-manager", "uv", "-P", f"port={port}"],
        cwd=project, start_new_session=True,
    )  # fmt: skip
    try:
        ask(f"http://127.0.0.1:{port}", process, allowed["refusal"], {one["answer"] for one in allowed["facts"]})
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def champion() -> str:
    return str(mlflow.MlflowClient().get_model_version_by_alias("phi3-mini-onnx", "champion").version)


def ask(address: str, process: subprocess.Popen, refusal: str, facts: set[str]) -> None:
    """As OpenAI's own client does, whole and in pieces; what is wrong is a 400 in a sentence."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health"):  # noqa: S310 - on loopback
                break
        except OSError:
            time.sleep(0.3)
    client = OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)

    def complete(content: str, model: str = "phi3-mini-onnx", **settings: object) -> Any:
        message = {"role": "user", "content": content}
        return client.chat.completions.create(model=model, messages=[message], **settings)

    assert [one.id for one in client.models.list()] == ["phi3-mini-onnx"]

    answer = complete("What is the capital of Italy?")
    assert answer.choices[0].message.content == refusal
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.choices[0].finish_reason == "stop"
    assert complete("What is the capital of Italy?", max_tokens=2).choices[0].finish_reason == "length"
    asked = "Would a 29-year-old woman in first class survive?"
    *events, last = complete(asked, stream=True, stream_options={"include_usage": True})
    whole = complete(asked)
    assert "".join(event.choices[0].delta.content or "" for event in events) == whole.choices[0].message.content
    assert whole.choices[0].message.content in {refusal, *facts}
    assert last.usage == whole.usage
    for content, settings, sentence in (
        ("x" * 30_000, {}, "more than 20000; shorten it"),
        ("<|end|>", {}, "which the chat template keeps for itself"),
        ("Hello", {"temperature": 9}, "temperature: Input should be less than or equal to 2"),
        ("Hello", {"stop": "."}, "stop: Extra inputs are not permitted"),
        ("Hello", {"model": "gpt-5"}, "model: Input should be 'phi3-mini-onnx'"),
    ):
        with pytest.raises(BadRequestError, match=re.escape(sentence)):
            complete(content, **settings)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
