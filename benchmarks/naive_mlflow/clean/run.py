import argparse
import sys
import tempfile

import mlflow

sys.path.insert(0, "../../scripts")
from clean import clean

parser = argparse.ArgumentParser()
parser.add_argument("--data")
a = parser.parse_args()
with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
    clean(a.data, f"{folder}/clean_data.csv")
    mlflow.log_artifact(f"{folder}/clean_data.csv")
