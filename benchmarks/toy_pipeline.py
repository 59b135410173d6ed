"""A project folder with this project's orchestrator and steps that do next to nothing, for measuring what is left."""

import compileall
import shutil
import subprocess
from pathlib import Path

import yaml
from results import ROOT

# What config.yaml says about running, and nothing of this project's own steps and data.
SETTINGS = ("steps", "env_manager", "max_parallel", "force", "dry_run", "verbose", "start_method", "defaults", "hydra")
RUN = """import argparse
from pathlib import Path

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--input", default="")
parser.add_argument("--text")
a = parser.parse_args()
with mlflow.start_run():
    mlflow.log_text((Path(a.input).read_text() if a.input else "") + a.text + "\\n", "out.txt")
"""
MLPROJECT = """name: trivial
entry_points:
  main:
    parameters:
      {input}text: {{type: string}}
    command: python run.py {flag}--text {{text}}
"""
FIRST = MLPROJECT.format(input="", flag="")
NEXT = MLPROJECT.format(input="input: {type: path}\n      ", flag="--input {input} ")


def make(folder: Path, steps: int, chain: bool) -> None:
    """Steps s0, s1 …; in a chain each reads the one before, otherwise all of them read s0."""
    folder.mkdir()
    shutil.copy(ROOT / "main.py", folder)
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key in SETTINGS} | {"pipeline": {}}
    for number in range(steps):
        name = f"s{number}"
        (folder / name).mkdir()
        (folder / name / "MLproject").write_text(NEXT if number else FIRST)
        (folder / name / "run.py").write_text(RUN)
        read = f"s{number - 1 if chain else 0}"
        parameters = {"text": name} | ({"input": f"${{artifact:{read},out.txt}}"} if number else {})
        config["pipeline"][name] = {"parameters": parameters}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / ".gitignore").write_text("outputs/\n__pycache__/\n")
    compileall.compile_dir(folder / "pipeline", quiet=1)
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "as it is"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
