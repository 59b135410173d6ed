import argparse
import sys
import tempfile

import mlflow

sys.path.insert(0, "../../scripts")
from score import score

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--data")
a = parser.parse_args()
with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
    score(mlflow.sklearn.load_model(a.model), a.data, f"{folder}/predictions.csv")
    mlflow.log_artifact(f"{folder}/predictions.csv")
