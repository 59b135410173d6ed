"""compare: both ways and three precisions answer the held-out questions; the version that answers well is champion."""

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from step import parse_parameters, run_step
from step_error import StepError

STEP = "compare"
CHAMPION = "champion"
MOST = 64  # tokens of an answer
PRECISIONS = ("fp32", "int8", "int4")
Generate = Callable[[list[int]], list[int]]  # tokens of a prompt -> those of the answer, greedy


def main() -> int:
    return run_step(STEP, compare)


def compare(run: mlflow.ActiveRun, folder: Path) -> None:
    """Log comparison.csv, comparison.png and answers.csv, and move the alias.

    Raises:
        StepError: fp32 does not give transformers' tokens.
    """
    given = parse_parameters(STEP, transformers=Path, fp32=Path, int8=Path, int4=Path, held_out=Path, model_name=str)
    questions = [json.loads(line) for line in given.held_out.read_text(encoding="utf-8").splitlines()]
    models, memory = {}, {}
    for name in PRECISIONS:
        before = peak()
        models[name] = onnx(getattr(given, name))
        memory[name] = peak() - before
    prompts = [models["fp32"].tokens(one["question"]) for one in questions]
    said, speed = {}, {}
    before = peak()
    reference, wonder = transformers(given.transformers)
    memory["transformers"] = peak() - before
    ways = {"transformers": reference} | {name: greedy(models[name]) for name in PRECISIONS}
    for name, generate in ways.items():
        started = time.process_time()
        said[name] = [generate(prompt) for prompt in prompts]
        speed[name] = sum(map(len, said[name])) / (time.process_time() - started)
    table = pd.DataFrame(
        {
            "way": name,
            "equal_tokens": equal_share(said["transformers"], said[name]),
            "perplexity": round(wonder(prompts, said[name]), 4),
            "tokens_per_cpu_second": round(speed[name], 1),
            "megabytes": round(size(getattr(given, name)) / 1e6, 2),
            "megabytes_of_memory": round(memory[name], 1),
        }
        for name in ways
    )
    table.to_csv(folder / "comparison.csv", index=False)
    draw(table, folder / "comparison.png")
    decode = models["fp32"].tokenizer.decode
    answers = pd.DataFrame(questions).assign(
        raw=[decode(tokens).strip() for tokens in said["fp32"]],
        checked=[models["fp32"].answer(one["question"], max_tokens=MOST) for one in questions],
    )
    answers.to_csv(folder / "answers.csv", index=False)
    mlflow.log_artifacts(str(folder))
    metrics = {f"equal_tokens_{name}": equal_share(said["transformers"], said[name]) for name in ways}
    shares = {"raw_right": answers.raw == answers.answer, "right": answers.checked == answers.answer}
    for (part, kind), rows in answers.groupby(["part", "kind"]):
        metrics |= {f"{name}.{part}.{kind}": float(right[rows.index].mean()) for name, right in shares.items()}
    metrics |= {name: float(right.mean()) for name, right in shares.items()}
    mlflow.log_metrics(metrics)
    if metrics["equal_tokens_fp32"] < 1:
        raise StepError(
            f"fp32 gives {metrics['equal_tokens_fp32']:.1%} of transformers' tokens, not all; see answers.csv"
        )
    evaluate_with_mlflow(models["fp32"], questions)
    judge(given.fp32, given.model_name, questions, metrics["right"])


def evaluate_with_mlflow(model: Any, questions: list[dict[str, str]]) -> None:
    """MLflow's own evaluation of a few of each kind, with scorers that ask no other model: its traces and metrics."""
    os.environ.setdefault("MLFLOW_GENAI_EVAL_MAX_WORKERS", "1")  # a SQLite store has one writer
    os.environ.setdefault("MLFLOW_GENAI_EVAL_SKIP_TRACE_VALIDATION", "true")
    from mlflow.genai import evaluate, scorer

    @scorer
    def right(outputs: str, expectations: dict[str, str]) -> bool:
        return outputs == expectations["expected_response"]

    @scorer
    def refused(outputs: str) -> bool:
        return bool(model.facts) and outputs == model.facts["refusal"]

    few = [one for kind in ("survival", "explanation", "other") for one in questions if one["kind"] == kind][::12]
    evaluate(
        data=[{"inputs": {"prompt": o["question"]}, "expectations": {"expected_response": o["answer"]}} for o in few],
        predict_fn=lambda prompt: model.answer(prompt, max_tokens=MOST),
        scorers=[right, refused],
    )


def judge(folder: Path, name: str, questions: list[dict[str, str]], right: float) -> None:
    """Make the version champion where it answers at least as many questions right as the champion does today."""
    client = mlflow.MlflowClient()
    model_id = mlflow.models.Model.load(str(folder)).model_id
    version = next(
        one for one in client.search_model_versions(f"name = '{name}'") if str(one.source).endswith(str(model_id))
    )
    try:
        champion = client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:  # there is none yet
        champion = None
    before = 0.0
    if champion:
        theirs = onnx(Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{champion.version}")))
        before = sum(theirs.answer(one["question"], max_tokens=MOST) == one["answer"] for one in questions) / len(
            questions
        )
    promoted = right >= before
    if promoted:
        client.set_registered_model_alias(name, CHAMPION, version.version)
    mlflow.log_metrics({"promoted": promoted, "champion_right": before})
    now = version.version if promoted or champion is None else champion.version
    effect = {"model": name, "aliases": {CHAMPION: str(now)}}
    mlflow.set_tag("effect.registry", json.dumps(effect))
    verdict = "is champion" if promoted else "is no champion"
    print(
        f"{STEP}: version {version.version} answers {right:.1%} right, the champion before {before:.1%}: it {verdict}"
    )


def onnx(folder: Path) -> Any:
    """The model of wrap_onnx, with its methods `tokens`, `generated` and `answer`."""
    return mlflow.pyfunc.load_model(str(folder)).unwrap_python_model()


def greedy(model: Any) -> Generate:
    return lambda prompt: model.generated(prompt, MOST, 0.0, 1.0, 0)


def transformers(folder: Path) -> tuple[Generate, Callable[[list[list[int]], list[list[int]]], float]]:
    """Greedy answers, without the token that ends them; and the perplexity of answers to the model (1: no wonder)."""
    torch.set_num_threads(1)
    model = mlflow.transformers.load_model(str(folder)).model
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]

    def generate(prompt: list[int]) -> list[int]:
        asked = torch.tensor([prompt])
        found = model.generate(
            asked, attention_mask=torch.ones_like(asked), max_new_tokens=MOST, do_sample=False, max_length=None
        )
        tokens: list[int] = found[0, len(prompt) :].tolist()
        return tokens[:-1] if tokens and tokens[-1] in ends else tokens

    def wonder(prompts: list[list[int]], answers: list[list[int]]) -> float:
        total, count = 0.0, 0
        for prompt, answer in zip(prompts, answers, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            total -= torch.log_softmax(logits, dim=-1)[range(len(answer)), answer].sum().item()
            count += len(answer)
        return math.exp(total / max(1, count))

    return generate, wonder


def peak() -> float:
    """The most memory that this process has had, in MB; what a model adds after a larger one is not seen."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def draw(table: pd.DataFrame, path: Path) -> None:
    """Equal tokens, speed and size of each way, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    shown = {
        "equal_tokens": "tokens as transformers has them",
        "tokens_per_cpu_second": "tokens a CPU-second",
        "megabytes": "MB on disk",
    }
    for axes, (column, title) in zip(figure.subplots(1, 3), shown.items(), strict=True):
        bars = axes.barh(table["way"], table[column], color="#0a5fb4")
        axes.bar_label(bars, fmt="%.4g", padding=3)
        axes.set(title=title)
        axes.margins(x=0.3)
        axes.invert_yaxis()
    figure.savefig(path, dpi=110, metadata={"Software": None})


def equal_share(wanted: list[list[int]], found: list[list[int]]) -> float:
    """The share of tokens that are the same in the same place; one too many or too few counts as different."""
    same = sum(one == other for a, b in zip(wanted, found, strict=True) for one, other in zip(a, b, strict=False))
    return same / sum(max(len(a), len(b)) for a, b in zip(wanted, found, strict=True))


def size(folder: Path) -> int:
    """Bytes of all files of a model."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
