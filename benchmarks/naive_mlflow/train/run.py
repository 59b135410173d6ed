import argparse
import sys

import mlflow

sys.path.insert(0, "../../scripts")
from train import train

parser = argparse.ArgumentParser()
parser.add_argument("--data")
parser.add_argument("--seed", type=int)
a = parser.parse_args()
with mlflow.start_run():
    model, accuracy, auc = train(a.data, a.seed)
    mlflow.log_metrics({"accuracy": accuracy, "roc_auc": auc})
    # The requirements are left to be inferred; the types are what a forest cannot be saved without.
    mlflow.sklearn.log_model(
        model,
        name="model",
        registered_model_name="titanic",
        skops_trusted_types=["numpy.dtype", "numpy.sum", "sklearn.tree._tree.Tree"],
    )
