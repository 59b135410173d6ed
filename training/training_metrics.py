"""How good predicted probabilities are. No MLflow here."""

import numpy as np
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score


def score(survived: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Accuracy (at 0.5), ROC AUC, log loss in nats and Brier score of `probability` (of survival, 0 to 1)."""
    return {
        "accuracy": float(accuracy_score(survived, probability >= 0.5)),
        "roc_auc": float(roc_auc_score(survived, probability)),
        "log_loss": float(log_loss(survived, probability, labels=[0, 1])),
        "brier": float(brier_score_loss(survived, probability)),
    }
