"""Four MLflow projects in a row, as most tutorials chain them."""

import argparse

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--data")
parser.add_argument("--seed")
a = parser.parse_args()

with mlflow.start_run():
    download = mlflow.run("download", parameters={"data": a.data}, env_manager="local")
    clean = mlflow.run("clean", parameters={"data": f"runs:/{download.run_id}/data.csv"}, env_manager="local")
    train = mlflow.run(
        "train",
        parameters={"data": f"runs:/{clean.run_id}/clean_data.csv", "seed": a.seed},
        env_manager="local",
    )
    mlflow.run("score", parameters={"model": f"runs:/{train.run_id}/model", "data": a.data}, env_manager="local")
