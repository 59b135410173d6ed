"""The model card: what the model is, how good, for whom, and what it is not for. No MLflow here."""

import math

import numpy as np
import pandas as pd
from training_data import TARGET, Split
from training_settings import Settings

AGES = {"child (under 16)": (0, 16), "adult (16 to 59)": (16, 60), "older (60 and over)": (60, np.inf)}

CARD = """# Model card: {model_name}, {model}

## What it is
A stock scikit-learn classifier ({model}) that estimates whether a passenger of the Titanic survived, from the raw
columns of the passenger list. Imputation, encoding and scaling are part of it. Hyperparameters: {values}; seed {seed}.

## Data
Trained on {rows_train} passengers ({survived_train:.1%} survived), judged on {rows_holdout} others
({survived_holdout:.1%} survived) that it has never seen: those whose hash of `PassengerId` and split_seed {split_seed}
falls below test_size {test_size:g}. SHA-256 of the list: `{digest}`.

## How good it is
On the holdout, with 95 % interval of the accuracy (Wilson) from {low:.3f} to {high:.3f}:

{metrics}

{cross_validation}

## Slices of the holdout
A slice of under 30 passengers says little: one passenger more or less moves its accuracy by over 3 points.

{slices}

## Intended use
Teaching, and showing how a model is trained, judged, released and watched. The probability is for ranking and for
decisions about the passenger list; nothing else was tested.

## Limits
- {rows_train} passengers of one ship on one night: it says nothing about any other accident or about people today.
- Sex, class and age carry most of the prediction, because they decided who reached a boat. It repeats that injustice;
  it does not judge it.
- Ages are missing for about a fifth of the passengers and are filled with the median.
- Differences in accuracy under about 0.02 on this many passengers are noise.
"""


def write_card(
    settings: Settings,
    parts: Split,
    digest: str,
    probability: np.ndarray,
    metrics: dict[str, float],
    cv: dict[str, float],
) -> str:
    """The card as Markdown; the same model and data give the same text."""
    low, high = wilson(metrics["accuracy"], len(parts.holdout))
    return CARD.format(
        model_name=settings.model_name,
        model=settings.model,
        values=", ".join(
            f"{name} {value:g}" if value is not None else f"no {name}" for name, value in settings.values.items()
        ),
        seed=settings.seed,
        split_seed=settings.split_seed,
        test_size=settings.test_size,
        rows_train=len(parts.train),
        rows_holdout=len(parts.holdout),
        survived_train=parts.train[TARGET].mean(),
        survived_holdout=parts.holdout[TARGET].mean(),
        digest=digest,
        low=low,
        high=high,
        metrics=table(["metric", "value"], [[name, f"{value:.4f}"] for name, value in metrics.items()]),
        cross_validation=cross_validation_text(settings, cv),
        slices=slice_table(parts.holdout, probability),
    )


def cross_validation_text(settings: Settings, cv: dict[str, float]) -> str:
    if not cv:
        return "It was not cross-validated (cv_repeats 0)."
    nested = ", the hyperparameters searched anew within each fold (nested)" if settings.search_trials else ""
    rows = [
        [name, f"{cv[f'cv_{name}_mean']:.4f}", f"{cv[f'cv_{name}_std']:.4f}"]
        for name in ("accuracy", "roc_auc", "log_loss", "brier")
    ]
    return (
        f"In the training part, {settings.cv_folds}-fold stratified cross-validation, repeated {settings.cv_repeats} "
        f"time(s){nested}; the spread is the standard deviation over the folds:\n\n"
        + table(["metric", "mean", "spread"], rows)
    )


def slice_table(holdout: pd.DataFrame, probability: np.ndarray) -> str:
    """Metrics by sex, class and age group as a Markdown table."""
    frame = pd.DataFrame(
        {
            "survived": holdout[TARGET].to_numpy(),
            "predicted": (probability >= 0.5).astype(int),
            "sex": holdout["Sex"].fillna("unknown").to_numpy(),
            "class": holdout["Pclass"].map("{:.0f}".format).to_numpy(),
            "age": age_groups(holdout["Age"]).to_numpy(),
        }
    )
    rows = []
    for column in ("sex", "class", "age"):
        for value, part in frame.groupby(column, sort=True):
            accuracy = (part["survived"] == part["predicted"]).mean()
            rows.append(
                [
                    f"{column}: {escape(str(value))}",
                    str(len(part)),
                    f"{part['survived'].mean():.2f}",
                    f"{part['predicted'].mean():.2f}",
                    f"{accuracy:.3f}",
                ]
            )
    return table(["slice", "passengers", "survived", "predicted to survive", "accuracy"], rows)


def age_groups(age: pd.Series) -> pd.Series:
    """Each age's group in AGES, or "unknown"."""
    groups = pd.Series("unknown", index=age.index)
    for name, (low, high) in AGES.items():
        groups[(age >= low) & (age < high)] = name
    return groups


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share of `count` (Wilson 1927)."""
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escape(text: str) -> str:
    """Text from the data, harmless in Markdown and HTML."""
    return "".join(c if c.isalnum() or c in " .-()" else f"&#{ord(c)};" for c in text[:60])
