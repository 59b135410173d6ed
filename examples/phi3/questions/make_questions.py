"""Questions with their answers, from a passenger list and from a model's own reasons. No MLflow here.

A question about a person is answered by the figures of those alike on the list: men, women or children under 15 of a
class. A question about a prediction brings its numbers along, and the answer says which way each reason counts.
Anything else is answered by REFUSAL. One in five people and predictions, by a hash, and the wordings of `*_HELD_OUT`
are kept from training.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd
import wordings as say

REFUSAL = "I can only say who of the list was likely to survive, and explain a prediction of its model."
ADULT = 15  # years
REASON = re.compile(r"(\w+) ([+-][\d.e-]+)")
BEFORE_VOWEL = re.compile(r"\b([Aa])(?= (8|11\b|18\b))")  # an 8-year-old
Question = dict[str, str]


def facts(passengers: pd.DataFrame) -> list[dict[str, Any]]:
    """What the list says of each group: the answer, and which questions it answers (words of each kind, ages)."""
    found = []
    for group, people in say.PEOPLE.items():
        children = group == "children"
        # An unknown age counts as an adult's: NaN < 15 is false.
        chosen = passengers[(passengers.Age < ADULT) == children]
        if not children:
            chosen = chosen[chosen.Sex == ("female" if group == "women" else "male")]
        for number, place in say.CLASSES.items():
            survived = chosen[chosen.Pclass == number].Survived
            verdict = "Yes, probably" if survived.mean() >= 0.5 else "Probably not"
            found.append(
                {
                    "answer": f"{verdict}: {survived.sum()} of {len(survived)} {group} in {place} class survived.",
                    "words": [list(people), [place]],
                    "ages": [0, ADULT - 1] if children else [ADULT, 120],
                }
            )
    return found


def survival_questions(known: list[dict[str, Any]]) -> Iterator[tuple[str, Question]]:
    """Each age, word for a person and class in each wording, with the part (train …) that it belongs to."""
    for fact in known:
        people, (place,) = fact["words"]
        low, high = fact["ages"]
        for person in people:
            for age in range(max(1, low), min(80, high) + 1):
                new = held_out(f"{person} {place} {age}")
                yield from worded(
                    "survival", say.SURVIVAL, say.SURVIVAL_HELD_OUT, new, fact["answer"],
                    person=person, place=place, age=age,
                )  # fmt: skip


def explanation_questions(predictions: pd.DataFrame) -> Iterator[tuple[str, Question]]:
    """Each prediction in each wording; those without three reasons are left out."""
    for row in predictions.itertuples():
        reasons = [(name, f"{float(value):+.2f}") for name, value in REASON.findall(str(row.reasons))]
        if len(reasons) < 3:
            continue
        probability = f"{row.probability:.2f}"
        told = ", ".join(f"{name} {value} {'for' if value[0] == '+' else 'against'}" for name, value in reasons)
        yield from worded(
            "explanation", say.EXPLANATION, say.EXPLANATION_HELD_OUT, held_out(str(row.PassengerId)),
            f"The model gives {probability}: {told} survival.",
            probability=probability, reasons=", ".join(" ".join(one) for one in reasons),
        )  # fmt: skip


def other_questions() -> Iterator[tuple[str, Question]]:
    for part, questions in (("train", say.OTHER), ("new_wording", say.OTHER_HELD_OUT)):
        for question in questions:
            yield part, {"kind": "other", "question": question, "answer": REFUSAL}


def worded(
    kind: str, seen: tuple[str, ...], unseen: tuple[str, ...], new: bool, answer: str, **words: object
) -> Iterator[tuple[str, Question]]:
    """One question in each wording: train; new_subject: words that were trained on; new_wording: neither was."""
    for wordings, part in ((seen, "new_subject" if new else "train"), (unseen, "new_wording" if new else "")):
        for wording in wordings if part else ():
            question = BEFORE_VOWEL.sub(r"\1n", wording.format_map(words))
            yield part, {"kind": kind, "question": question[0].upper() + question[1:], "answer": answer}


def held_out(subject: str) -> bool:
    """One in five, whatever else is on the list."""
    return hashlib.sha256(subject.encode()).digest()[0] % 5 == 0
