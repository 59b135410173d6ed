"""wrap_onnx: a language model in, the same for ONNX Runtime GenAI, wrapped as a pyfunc from code, out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from step import choice, parse_parameters, run_step
from step_error import StepError

STEP = "wrap_onnx"
NAME = "phi3-mini-onnx"  # of the artifact
REQUIREMENTS = ["mlflow==3.17.2", "onnxruntime-genai==0.18.0", "pandas==2.3.3"]
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "prompt")]),
    outputs=Schema([ColSpec("string")]),
    params=ParamSchema(
        [
            ParamSpec("max_tokens", "long", 128),
            ParamSpec("temperature", "double", 0.0),
            ParamSpec("top_p", "double", 1.0),
            ParamSpec("seed", "long", 0),
        ]
    ),
)


def main() -> int:
    return run_step(STEP, wrap)


def wrap(run: mlflow.ActiveRun, folder: Path) -> None:
    """Build, and log the model twice: `{"prompt": …}` in, text out; and messages in, an answer out, streaming too.

    Raises:
        StepError: the source is no language model that the builder knows.
    """
    given = parse_parameters(STEP, source=Path, model_name=str, precision=choice("fp32", "int8", "int4"))
    built = build(given.source, given.precision, folder)
    here = Path(__file__).parent
    info = mlflow.pyfunc.log_model(
        name=NAME,
        python_model=str(here / "onnx_model.py"),
        artifacts={"model": str(built)},
        code_paths=[str(here / "guard.py")],
        signature=SIGNATURE,
        registered_model_name=given.model_name or None,
        pip_requirements=REQUIREMENTS,
    )
    mlflow.pyfunc.log_model(
        name=f"{NAME}-chat",
        python_model=str(here / "onnx_chat.py"),
        artifacts={"model": str(built)},
        code_paths=[str(here / "guard.py"), str(here / "onnx_model.py")],
        pip_requirements=REQUIREMENTS,
    )
    mlflow.log_metric("bytes", sum(path.stat().st_size for path in built.iterdir()))
    if given.model_name:
        effect = {"model": given.model_name, "version": str(info.registered_model_version)}
        mlflow.set_tag("effect.registry", json.dumps(effect))
    print(f"{STEP}: {NAME} in {given.precision}")


def build(source: Path, precision: str, folder: Path) -> Path:
    """The folder that GenAI reads, with facts.json where the source has it.

    Raises:
        StepError: the builder failed; its last line says why.
    """
    built = folder / "model"
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", str(source), "-i", str(source)]
    done = subprocess.run(
        [*command, "-o", str(built), "-p", precision, "-e", "cpu", "-c", str(folder / "cache")],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise StepError(f"source {str(source)!r} could not be built ({last[:200]}); give model_source's model")
    if (source / "facts.json").is_file():
        shutil.copyfile(source / "facts.json", built / "facts.json")
    return built


if __name__ == "__main__":
    sys.exit(main())
