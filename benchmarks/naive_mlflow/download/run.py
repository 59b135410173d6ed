import argparse
import sys
import tempfile

import mlflow

sys.path.insert(0, "../../scripts")  # the work itself is the same for all that are compared
from download import download

parser = argparse.ArgumentParser()
parser.add_argument("--data")
a = parser.parse_args()
with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
    download(a.data, f"{folder}/data.csv")
    mlflow.log_artifact(f"{folder}/data.csv")
