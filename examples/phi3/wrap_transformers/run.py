"""wrap_transformers: a language model in, the same as a model of MLflow's transformers flavor for chats out."""

import sys
from pathlib import Path

import mlflow
from step import parse_parameters, run_step
from step_error import StepError, first_line
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
from transformers.utils.logging import disable_progress_bar

STEP = "wrap_transformers"
NAME = "phi3-mini-transformers"  # of the artifact
REQUIREMENTS = ["mlflow==3.17.2", "torch==2.13.0", "transformers==5.17.0", "accelerate==1.15.0"]


def main() -> int:
    return run_step(STEP, wrap)


def wrap(run: mlflow.ActiveRun, folder: Path) -> None:
    """Log the model with the chat interface: `choices` and `usage` out, weights as safetensors.

    Raises:
        StepError: the source is no language model.
    """
    given = parse_parameters(STEP, source=Path, model_name=str)
    disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(given.source, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(given.source)
    except (OSError, ValueError, KeyError) as error:
        raise StepError(
            f"source {str(given.source)!r} is no language model ({first_line(error)}); give model_source's model"
        ) from None
    info = mlflow.transformers.log_model(
        pipeline("text-generation", model=model, tokenizer=tokenizer),
        name=NAME,
        task="llm/v1/chat",
        registered_model_name=given.model_name,
        pip_requirements=REQUIREMENTS,  # else it asks for torchvision, too
    )
    mlflow.log_metric("bytes", sum(path.stat().st_size for path in given.source.iterdir()))
    mlflow.set_tag(
        "effect.registry", f'{{"model": "{given.model_name}", "version": "{info.registered_model_version}"}}'
    )
    print(f"{STEP}: {given.model_name} version {info.registered_model_version}")


if __name__ == "__main__":
    sys.exit(main())
