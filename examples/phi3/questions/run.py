"""questions: a passenger list and a model's reasons in; questions with answers out, and what checks them."""

import json
import random
import sys
from pathlib import Path

import mlflow
import pandas as pd
from make_questions import REFUSAL, explanation_questions, facts, other_questions, survival_questions
from step import log_dataset, parse_parameters, requested_uri, run_step
from step_error import StepError

STEP = "questions"
HELD_OUT = ("new_subject", "new_wording")
MOST = 60  # held-out questions of each part and kind, chosen by chance with a fixed seed: all would take minutes


def main() -> int:
    return run_step(STEP, make)


def make(run: mlflow.ActiveRun, folder: Path) -> None:
    """Log train.jsonl, held_out.jsonl and facts.json.

    Raises:
        StepError: a file is no such table.
    """
    given = parse_parameters(STEP, passengers=Path, predictions=Path)
    passengers = read(given.passengers, ["Survived", "Pclass", "Sex", "Age"])
    predictions = read(given.predictions, ["PassengerId", "probability", "reasons"])
    known = facts(passengers)
    parts: dict[str, list[dict[str, str]]] = {part: [] for part in ("train", *HELD_OUT)}
    for part, question in (*survival_questions(known), *explanation_questions(predictions), *other_questions()):
        parts[part].append(question)
    trained_on = {one["question"] for one in parts["train"]}
    new = {part: [one for one in parts[part] if one["question"] not in trained_on] for part in HELD_OUT}
    held_out = [{"part": part, **one} for part in HELD_OUT for one in some(new[part])]
    write(folder / "train.jsonl", parts["train"])
    write(folder / "held_out.jsonl", held_out)
    checked = json.dumps({"refusal": REFUSAL, "facts": known}, indent=2)
    (folder / "facts.json").write_text(checked + "\n", encoding="utf-8")
    mlflow.log_artifacts(str(folder))
    mlflow.log_metrics({"train": len(parts["train"]), "held_out": len(held_out), "facts": len(known)})
    for name in ("passengers", "predictions"):
        path = getattr(given, name)
        log_dataset(path, requested_uri(run, name, path), name)
    print(f"{STEP}: {len(parts['train'])} questions to train on, {len(held_out)} held out")


def read(path: Path, columns: list[str]) -> pd.DataFrame:
    """The columns of a CSV file.

    Raises:
        StepError: it cannot be read, or lacks one.
    """
    try:
        return pd.read_csv(path)[columns]
    except (OSError, ValueError, KeyError) as error:
        raise StepError(f"{path.name} is no CSV file with the columns {', '.join(columns)} ({error})") from None


def some(questions: list[dict[str, str]]) -> list[dict[str, str]]:
    """At most MOST of each kind, always the same."""
    shuffled = random.Random(0).sample(questions, len(questions))  # noqa: S311  # no secret
    return [one for kind in ("survival", "explanation", "other") for one in of_kind(shuffled, kind)[:MOST]]


def of_kind(questions: list[dict[str, str]], kind: str) -> list[dict[str, str]]:
    return [one for one in questions if one["kind"] == kind]


def write(path: Path, questions: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in questions), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
