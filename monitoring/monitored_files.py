"""Read the lists to be compared, as they come; and score them against labels. No MLflow here."""

from pathlib import Path

import numpy as np
import pandas as pd

KEY, TARGET = "PassengerId", "Survived"
MISSING = ["?", "-", ""]  # beside what pandas takes for missing
CHUNK_ROWS = 50_000


class MonitoringError(Exception):
    """Something cannot be compared; the text is meant for the user."""


def read_list(path: Path, needed: list[str], max_rows: int) -> tuple[pd.DataFrame, int]:
    """The CSV's rows as text, at most `max_rows` of them (evenly spaced over a longer file); and how many it has.

    Raises:
        MonitoringError: no CSV file, no rows, or one of the columns `needed` missing.
    """
    try:
        lines = count_lines(path)
        step = max(1, -(-lines // max_rows))
        kept, rows = [], 0
        chunks = pd.read_csv(
            path, dtype=str, na_values=MISSING, chunksize=CHUNK_ROWS, encoding="utf-8-sig", skipinitialspace=True
        )
        for chunk in chunks:
            kept.append(chunk[(chunk.index.to_numpy() % step) == 0])
            rows += len(chunk)
    except OSError as error:
        raise MonitoringError(f"{str(path)!r} cannot be read ({error.strerror}); give a CSV file's path") from None
    except (ValueError, pd.errors.ParserError) as error:  # UnicodeDecodeError and EmptyDataError are ValueErrors
        reason = (str(error).strip().splitlines() or [""])[0]
        raise MonitoringError(f"{path.name} is not a CSV file that can be read ({reason}); check it") from None
    frame = pd.concat(kept) if kept else pd.DataFrame()
    frame = frame.rename(columns=lambda name: str(name).strip())
    if not rows:
        raise MonitoringError(f"{path.name} has no rows; there is nothing to compare")
    if missing := [name for name in needed if name not in frame.columns]:
        has = ", ".join(name[:40] for name in frame.columns[:15])
        raise MonitoringError(f"{path.name} has no column {', '.join(missing)} (it has: {has}); give a file with these")
    if not frame.columns.is_unique:
        raise MonitoringError(f"{path.name} names a column more than once; remove one of them")
    return frame.reset_index(drop=True), rows


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def as_typed(reference: pd.DataFrame, current: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with numbers where the reference has nothing else; what is no number in `current` is missing there."""
    before, after = {}, {}
    for name in reference.columns:
        numbers = pd.to_numeric(reference[name], errors="coerce")
        if reference[name].notna().any() and numbers.notna().equals(reference[name].notna()):
            before[name] = numbers
            if name in current:
                after[name] = pd.to_numeric(current[name], errors="coerce").replace([np.inf, -np.inf], np.nan)
        else:
            before[name] = reference[name].str.strip()
            if name in current:
                after[name] = current[name].str.strip()
    return pd.DataFrame(before), pd.DataFrame(after, index=current.index)


def live_metrics(predictions: pd.DataFrame, labels: pd.DataFrame) -> dict[str, float]:
    """Metrics over the passengers who have both a prediction and a label: live_rows, live_accuracy, live_roc_auc …

    `predictions`: PassengerId, Survived, probability; `labels`: PassengerId, Survived; as text.

    Raises:
        MonitoringError: labels other than 0 and 1, or a passenger labelled twice.
    """
    labels = labels[labels[TARGET].notna()]
    outcome = pd.to_numeric(labels[TARGET], errors="coerce")
    if not outcome.isin([0, 1]).all():
        wrong = sorted(set(labels[TARGET][~outcome.isin([0, 1])]))[:3]
        raise MonitoringError(f"labels has {TARGET} values other than 0 and 1: {', '.join(wrong)}")
    if labels[KEY].duplicated().any():
        twice = labels[KEY][labels[KEY].duplicated()].iloc[0]
        raise MonitoringError(f"labels has {KEY} {twice} more than once; keep one row for each passenger")
    scored = predictions[predictions["probability"].notna() & predictions[TARGET].notna()]
    labelled = scored.merge(pd.DataFrame({KEY: labels[KEY], "outcome": outcome}), on=KEY)
    if labelled.empty:
        return {"live_rows": 0}
    return {"live_rows": len(labelled)} | {
        f"live_{name}": value for name, value in classification_metrics(labelled).items()
    }


def classification_metrics(labelled: pd.DataFrame) -> dict[str, float]:
    """Metrics of the predictions Survived and probability against `outcome`; ROC AUC where both outcomes occur."""
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    outcome = labelled["outcome"].to_numpy(int)
    survived = pd.to_numeric(labelled[TARGET]).to_numpy(int)
    probability = pd.to_numeric(labelled["probability"]).to_numpy(float)
    found = {
        "accuracy": float((outcome == survived).mean()),
        "log_loss": float(log_loss(outcome, probability, labels=[0, 1])),
        "brier": float(brier_score_loss(outcome, probability)),
        "survived_share": float(outcome.mean()),
    }
    if 0 < outcome.mean() < 1:
        found["roc_auc"] = float(roc_auc_score(outcome, probability))
    return found
