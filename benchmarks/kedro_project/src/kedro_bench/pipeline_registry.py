"""The four scripts of the benchmark as four nodes that hand on the paths of their files."""

import sys
from pathlib import Path

from kedro.pipeline import Pipeline, node, pipeline

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))


def download(source: str, folder: str) -> str:
    """The list as it is."""
    import download

    download.download(source, f"{folder}/data.csv")
    return f"{folder}/data.csv"


def clean(data: str, folder: str) -> str:
    """The clean list."""
    import clean

    clean.clean(data, f"{folder}/clean_data.csv")
    return f"{folder}/clean_data.csv"


def train(clean_data: str, folder: str, seed: int) -> str:
    """The model's file; train.py is a program, and is run as one, in this process."""
    return script("train.py", clean_data, f"{folder}/model.skops", str(seed))


def score(model: str, source: str, folder: str) -> str:
    """The predictions' file."""
    return script("score.py", model, source, f"{folder}/predictions.csv")


def script(name: str, *arguments: str) -> str:
    """Run a script in this process; its output is the last argument that is a file of its making."""
    import runpy

    sys.argv = [name, *arguments]
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    return next(argument for argument in arguments[1:] if "/" in argument and argument.rpartition("/")[2] in OUTPUTS)


OUTPUTS = {"model.skops", "predictions.csv"}


def register_pipelines() -> dict[str, Pipeline]:
    """The one pipeline there is."""
    nodes = [
        node(download, ["params:list", "params:folder"], "data"),
        node(clean, ["data", "params:folder"], "clean_data"),
        node(train, ["clean_data", "params:folder", "params:seed"], "model"),
        node(score, ["model", "params:list", "params:folder"], "predictions"),
    ]
    return {"__default__": pipeline(nodes)}
