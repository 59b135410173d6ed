"""model_source: the name of a language model in, the model as a folder of safetensors and a tokenizer out."""

import json
import shutil
import sys
from pathlib import Path

import mlflow
from step import log_dataset, parse_parameters, requested_uri, run_step, whole
from step_error import StepError, first_line
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

STEP = "model_source"


def main() -> int:
    return run_step(STEP, make)


def make(run: mlflow.ActiveRun, folder: Path) -> None:
    """Train or load the model, and log it as the folder `model`.

    Raises:
        StepError: it cannot be had.
    """
    given = parse_parameters(
        STEP, model=str, questions=Path, facts=Path, steps=whole(1, 1_000_000), seed=whole(0, 2**32 - 1)
    )
    disable_progress_bar()
    output = folder / "model"
    if given.model == "tiny":
        model, tokenizer, loss = trained(given.questions, given.steps, given.seed)
        mlflow.log_metric("loss", loss)
        log_dataset(given.questions, requested_uri(run, "questions", given.questions), "training")
    else:
        model, tokenizer = loaded(given.model)
    model.generation_config.do_sample = False  # else temperature=0 is refused
    model.generation_config.temperature = model.generation_config.top_p = model.generation_config.top_k = None
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    if given.model == "tiny":
        shutil.copyfile(given.facts, output / "facts.json")
    mlflow.log_artifacts(str(output), "model")
    mlflow.log_metrics({"parameters": model.num_parameters(), "vocabulary": len(tokenizer)})
    print(f"{STEP}: {given.model}, {model.num_parameters() / 1e6:.1f} million parameters, {len(tokenizer)} tokens")


def trained(path: Path, steps: int, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, float]:
    """Raises StepError: the file has no questions."""
    from tiny_phi3 import train

    try:
        questions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return train(questions, steps, seed)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StepError(
            f"questions {path.name} cannot be trained on ({first_line(error)}); give train.jsonl of the step questions"
        ) from None


def loaded(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model of the hub or of a folder, as transformers saves one or as a single .gguf file, in 32 bits.

    Raises:
        StepError: it is not there, or is no language model.
    """
    packed, unpacking = {}, {}
    if shipped := sorted(Path(name).glob("*.gguf")):
        packed, unpacking = {"gguf_file": shipped[0].name}, {"quantization_config": GgufConfig(dequantize=True)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **packed)
        return AutoModelForCausalLM.from_pretrained(name, dtype="float32", **packed, **unpacking), tokenizer
    except (OSError, ValueError, KeyError) as error:
        raise StepError(
            f"model={name!r} could not be loaded ({first_line(error)}); give tiny, a model of the hub "
            "that can be reached, or a folder's full path"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
