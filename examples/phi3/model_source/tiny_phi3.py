"""A language model of a million parameters with Phi-3's architecture and chat template, trained on questions.

One thread and one seed: the same questions give the same weights, bit for bit.
"""

import random

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM, PreTrainedTokenizerFast, Qwen2Tokenizer

END_OF_TEXT, END = "<|endoftext|>", "<|end|>"
ROLES = ("<|user|>", "<|assistant|>", "<|system|>")
# Phi-3-mini's own, in short.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
# ONNX Runtime GenAI knows the patterns of known models only; this one, Qwen2's, takes digits one by one.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MOST_TOKENS = 640  # of the vocabulary
CONTEXT = 256  # tokens
BATCH = 16
RATE = 3e-3
IGNORED = -100  # a label that the loss leaves out


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level byte-pair encoding: it takes any text, and the words of these in one token each."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_TOKENS,
        special_tokens=[END_OF_TEXT, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Qwen2Tokenizer(
        tokenizer_object=tokenizer,
        unk_token=None,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[END, *ROLES],
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Phi3ForCausalLM:
    """Untrained, from torch's seed; greedy by default."""
    ends = tokenizer.convert_tokens_to_ids([END_OF_TEXT, END])
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        original_max_position_embeddings=CONTEXT,
        bos_token_id=ends[0],
        eos_token_id=ends[0],
        pad_token_id=ends[0],
        tie_word_embeddings=False,
    )
    model = Phi3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False, bos_token_id=ends[0], eos_token_id=ends, pad_token_id=ends[0]
    )
    return model


def train(
    questions: list[dict[str, str]], steps: int, seed: int
) -> tuple[Phi3ForCausalLM, PreTrainedTokenizerFast, float]:
    """The model, its tokenizer, and the mean loss of the last tenth of the steps (nats a token of an answer)."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # more are slower where other programs run, and another order of sums
    chance = random.Random(seed)  # noqa: S311  # no secret
    tokenizer = make_tokenizer([one[part] for one in questions for part in ("question", "answer")])
    model = make_model(tokenizer).train()
    kinds = [encoded(questions, kind, tokenizer) for kind in ("survival", "explanation", "other")]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    losses = []
    for _ in range(steps):
        batch = [chance.choice(kind) for kind in chance.choices(kinds, weights=(45, 40, 15), k=BATCH)]
        loss = model(**padded(batch, tokenizer.pad_token_id)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    last = losses[-max(1, steps // 10) :]
    return model.eval(), tokenizer, sum(last) / len(last)


def encoded(
    questions: list[dict[str, str]], kind: str, tokenizer: PreTrainedTokenizerFast
) -> list[tuple[list[int], list[int]]]:
    """The tokens of each question of a kind as the chat template puts it, and of its answer with its end."""
    chosen = [one for one in questions if one["kind"] == kind]
    asked = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": one["question"]}], add_generation_prompt=True, tokenize=False
        )
        for one in chosen
    ]
    before = tokenizer(asked)["input_ids"]
    after = tokenizer([one["answer"] + END for one in chosen])["input_ids"]
    return list(zip(before, after, strict=True))


def padded(batch: list[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Input, mask and labels (batch, tokens); the loss counts the answers' tokens only."""
    size = max(len(before) + len(after) for before, after in batch)
    rows = [(before, after, size - len(before) - len(after)) for before, after in batch]
    return {
        "input_ids": torch.tensor([before + after + [pad] * rest for before, after, rest in rows]),
        "attention_mask": torch.tensor([[1] * (size - rest) + [0] * rest for _, _, rest in rows]),
        "labels": torch.tensor([[IGNORED] * len(before) + after + [IGNORED] * rest for before, after, rest in rows]),
    }
