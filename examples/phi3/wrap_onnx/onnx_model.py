"""The model as MLflow loads it, from this code: `{"prompt": …}` in, the answer's text out. No pickle, no torch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import onnxruntime_genai as og
import pandas as pd
from guard import checked  # lies in the artifact's folder code
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

LEAST = 1  # tokens that an answer needs room for
MOST_CHARACTERS = 20_000  # of a prompt


class OnnxModel(PythonModel):
    """A folder of ONNX Runtime GenAI's behind MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["model"])
        self.model = og.Model(str(folder))
        self.tokenizer = og.Tokenizer(self.model)
        self.most = json.loads((folder / "genai_config.json").read_text())["model"]["context_length"]
        facts = folder / "facts.json"
        self.facts = json.loads(facts.read_text()) if facts.is_file() else None

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[str]:
        return [self.answer(str(prompt), **(params or {})) for prompt in model_input["prompt"]]

    def answer(
        self, prompt: str, max_tokens: int = 128, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0
    ) -> str:
        """A bare question is put into the chat template; with facts.json beside the model the answer is checked.

        Raises:
            MlflowException: the prompt leaves no room for an answer, or a parameter is out of range.
        """
        tokens = self.tokens(prompt)
        said = self.tokenizer.decode(self.generated(tokens, max_tokens, temperature, top_p, seed)).strip()
        return checked(prompt, said, self.facts) if self.facts else said

    def tokens(self, prompt: str) -> list[int]:
        if len(prompt) > MOST_CHARACTERS:
            raise refused(f"the prompt has {len(prompt)} characters, more than {MOST_CHARACTERS}; shorten it")
        if "<|" not in prompt:
            prompt = self.prompt_of([{"role": "user", "content": prompt}])
        tokens = [int(one) for one in self.tokenizer.encode(prompt)]
        if len(tokens) > self.most - LEAST:
            raise refused(f"the prompt has {len(tokens)} tokens, and the model takes {self.most - LEAST}; shorten it")
        return tokens

    def prompt_of(self, messages: list[dict[str, str]]) -> str:
        """Messages, each with a role and a content, as the chat template puts them.

        Raises:
            MlflowException: a content has a mark of the template's own in it.
        """
        if any("<|" in one["content"] for one in messages):
            raise refused("a message has <| in it, which the chat template keeps for itself; leave it out")
        return str(self.tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True))

    def pieces(self, messages: list[dict[str, str]], **settings: Any) -> Iterator[tuple[int, str]]:
        """The answer to a conversation as it is made: pieces of text, each with the number of its tokens.

        With facts.json it is one piece: nothing is said before it is checked.
        """
        given = {"max_tokens": 128, "temperature": 0.0, "top_p": 1.0, "seed": 0} | settings
        made = self.following(self.tokens(self.prompt_of(messages)), **given)
        if self.facts:
            tokens = list(made)
            text = self.tokenizer.decode(tokens).strip()
            yield len(tokens), checked(messages[-1]["content"], text, self.facts)
            return
        stream = self.tokenizer.create_stream()
        for token in made:
            yield 1, stream.decode(token)

    def generated(self, tokens: list[int], max_tokens: int, temperature: float, top_p: float, seed: int) -> list[int]:
        """All tokens that follow."""
        return list(self.following(tokens, max_tokens, temperature, top_p, seed))

    def following(
        self, tokens: list[int], max_tokens: int, temperature: float, top_p: float, seed: int
    ) -> Iterator[int]:
        """The tokens that follow, one by one, without the end's; greedy at temperature 0."""
        if max_tokens < 1 or not 0 <= temperature <= 2 or not 0 < top_p <= 1:
            raise refused(
                f"max_tokens={max_tokens}, temperature={temperature:g}, top_p={top_p:g} is out of range; "
                "give at least 1, 0 to 2, and over 0 to 1"
            )
        search = og.GeneratorParams(self.model)
        search.set_search_options(
            max_length=min(self.most, len(tokens) + max_tokens),
            do_sample=temperature > 0,
            temperature=temperature or 1.0,
            top_p=top_p,
            top_k=0 if temperature else 1,
            random_seed=seed,
        )
        generator = og.Generator(self.model, search)
        generator.append_tokens(tokens)
        ends = set(self.tokenizer.eos_token_ids)
        while not generator.is_done():
            generator.generate_next_token()
            if (token := int(generator.get_next_tokens()[0])) in ends:
                return
            yield token


def refused(sentence: str) -> mlflow.MlflowException:
    return mlflow.MlflowException(sentence, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(OnnxModel())
