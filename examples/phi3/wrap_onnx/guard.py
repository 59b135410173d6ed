"""Whether an answer may be given: each number in it must be the list's, or the question's. Anything else is refused."""

import re
from typing import Any

NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
REASON = re.compile(r"(\w+ ([+-])\d+\.\d\d) (for|against)")


def checked(question: str, answer: str, facts: dict[str, Any]) -> str:
    """The answer, or the refusal where it says what neither the list nor the question bears out."""
    fits = is_fact(question, answer, facts["facts"]) or is_explanation(question, answer)
    return answer if fits else str(facts["refusal"])


def is_fact(question: str, answer: str, facts: list[dict[str, Any]]) -> bool:
    """Whether it is word for word what the list says of the people that are asked about."""
    asked = set(re.findall(r"[a-z]+", question.lower()))
    ages = [int(age) for age in re.findall(r"\d+", question)]
    for fact in facts:
        named = all(any(asked >= set(word.split()) for word in words) for words in fact["words"])
        if answer == fact["answer"] and named and len(ages) <= 1:
            return all(fact["ages"][0] <= age <= fact["ages"][1] for age in ages)
    return False


def is_explanation(question: str, answer: str) -> bool:
    """Whether it repeats the question's numbers, all of them, in order, and each reason with the way its sign says."""
    reasons = REASON.findall(answer)
    return (
        bool(reasons)
        and NUMBER.findall(answer) == NUMBER.findall(question)
        and len(reasons) == len(NUMBER.findall(answer)) - 1
        and all(told in question and (sign == "+") == (way == "for") for told, sign, way in reasons)
    )
