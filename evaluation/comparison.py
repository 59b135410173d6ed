"""Metrics of predicted probabilities, and the comparison of two models. No MLflow here."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

AGES = {"child": (0, 16), "adult": (16, 60), "older": (60, np.inf)}  # years, upper bound exclusive


def score(survived: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Accuracy (at 0.5), ROC AUC (0.5 where undefined), log loss in nats, Brier score, calibration error."""
    both = len(np.unique(survived)) == 2
    return {
        "accuracy": float(accuracy_score(survived, probability >= 0.5)),
        "roc_auc": float(roc_auc_score(survived, probability)) if both else 0.5,
        "log_loss": float(log_loss(survived, probability, labels=[0, 1])),
        "brier": float(brier_score_loss(survived, probability, pos_label=1)),
        "calibration_error": calibration_error(survived, probability),
    }


def calibration_error(survived: np.ndarray, probability: np.ndarray, groups: int = 5) -> float:
    """Expected calibration error: passengers in order of probability in `groups` equal parts; the mean distance between
    a part's mean probability and the share of it that survived."""
    parts = np.array_split(np.argsort(probability, kind="stable"), groups)
    gaps = [abs(survived[part].mean() - probability[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(survived))


@dataclass(frozen=True)
class Difference:
    """Challenger minus champion on `rows` passengers, with 95 % bootstrap intervals and McNemar's exact p-value."""

    rows: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    roc_auc: float
    roc_auc_low: float
    roc_auc_high: float
    only_challenger_right: int
    only_champion_right: int
    mcnemar_p: float


def compare(survived: np.ndarray, challenger: np.ndarray, champion: np.ndarray, draws: int = 1000) -> Difference:
    """Both models' probabilities on the same passengers.

    McNemar's exact test asks whether the passengers on whom only one model is right could be split so by a fair coin;
    the bootstrap draws passengers, so that both models are always judged on the same ones.
    """
    challenger_right, champion_right = (challenger >= 0.5) == survived, (champion >= 0.5) == survived
    gained, lost = int((challenger_right & ~champion_right).sum()), int((champion_right & ~challenger_right).sum())
    generator = np.random.default_rng(0)
    samples = generator.integers(0, len(survived), (draws, len(survived)))
    accuracy = (challenger_right.astype(float) - champion_right)[samples].mean(axis=1)
    auc = rank_auc(survived[samples], challenger[samples]) - rank_auc(survived[samples], champion[samples])
    whole = rank_auc(survived[None], challenger[None]) - rank_auc(survived[None], champion[None])
    return Difference(
        rows=len(survived),
        accuracy=float(challenger_right.mean() - champion_right.mean()),
        accuracy_low=float(np.quantile(accuracy, 0.025)),
        accuracy_high=float(np.quantile(accuracy, 0.975)),
        roc_auc=float(whole[0]),
        roc_auc_low=float(np.quantile(auc, 0.025)),
        roc_auc_high=float(np.quantile(auc, 0.975)),
        only_challenger_right=gained,
        only_champion_right=lost,
        mcnemar_p=float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
    )


def rank_auc(survived: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """ROC AUC of each row of two arrays (draws, passengers), by ranks (Mann and Whitney 1947); 0.5 where undefined."""
    from scipy.stats import rankdata

    ranks = rankdata(probability, axis=1)
    positives = survived.sum(axis=1)
    pairs = positives * (survived.shape[1] - positives)
    above = (ranks * survived).sum(axis=1) - positives * (positives + 1) / 2
    areas: np.ndarray = np.divide(above, pairs, out=np.full(len(survived), 0.5), where=pairs > 0)
    return areas


def slices(holdout: pd.DataFrame, survived: np.ndarray, probability: np.ndarray) -> pd.DataFrame:
    """Metrics by sex, class, age group and all their combinations (fairlearn's MetricFrame).

    One row for each slice that has passengers: `by` (its columns), `slice`, `count`, `survived` (share), `selected`
    (share predicted to survive), `accuracy`.
    """
    from fairlearn.metrics import MetricFrame, count, mean_prediction, selection_rate

    features = pd.DataFrame(
        {
            "sex": holdout["Sex"].fillna("unknown").astype(str).to_numpy(),
            "class": holdout["Pclass"].map("{:.0f}".format).to_numpy(),
            "age": age_groups(holdout["Age"]).to_numpy(),
        }
    )
    metrics = {
        "count": count,
        "survived": lambda true, _: mean_prediction(true, true),
        "selected": selection_rate,
        "accuracy": accuracy_score,
    }
    rows = []
    for size in (1, 2, 3):
        for columns in combinations(features.columns, size):
            frame = MetricFrame(
                metrics=metrics,
                y_true=survived,
                y_pred=(probability >= 0.5).astype(int),
                sensitive_features=features[list(columns)],
            ).by_group
            for key, values in frame.dropna(subset=["count"]).iterrows():
                name = ", ".join(map(str, key if isinstance(key, tuple) else (key,)))
                rows.append({"by": " x ".join(columns), "slice": name, **values.astype(float)})
    return pd.DataFrame(rows).astype({"count": int})


def age_groups(age: pd.Series) -> pd.Series:
    """Each age's (years) group in AGES, or "unknown"."""
    groups = pd.Series("unknown", index=age.index)
    for name, (low, high) in AGES.items():
        groups[(age >= low) & (age < high)] = name
    return groups


def largest_gaps(table: pd.DataFrame, min_count: int) -> dict[str, dict[str, float]]:
    """By grouping, the largest difference in accuracy and selection rate among slices of `min_count` or more."""
    large = table[table["count"] >= min_count]
    return {
        str(by): {metric: float(part[metric].max() - part[metric].min()) for metric in ("accuracy", "selected")}
        for by, part in large.groupby("by", sort=False)
    }


def in_holdout(passenger_ids: pd.Series, test_size: float, split_seed: int) -> np.ndarray:
    """Which passengers a training with these settings held out, by the hash of training_data.py (a test compares)."""
    with np.errstate(over="ignore"):
        seed = splitmix64(np.array([split_seed], dtype=np.int64).astype(np.uint64))
        mixed = splitmix64(passenger_ids.to_numpy().astype(np.int64).astype(np.uint64) ^ seed)
    held: np.ndarray = (mixed >> np.uint64(11)) * 2.0**-53 < test_size
    return held


def splitmix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: uint64 to uint64, one to one."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
