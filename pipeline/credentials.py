"""Secrets in what is asked for: that is stored in clear, in many places, so that no secret may be part of it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.secret_address import secret_in, secret_word

ADDRESS = re.compile(r"(?:https?:|[\w+.-]*:?//)[^\s\"'<>]*", re.IGNORECASE)
SSH_USER = re.compile(r"ssh://[^/:@]*@")  # who does not have to be kept secret
SETTING = re.compile(r"(?<=[?&;#])([^=&;#\s]+)=[^&;#\s\"']*")
FROM_ENVIRONMENT = re.compile(r"\$\{\s*oc\.env\s*:\s*(\w+)")
RIGHT_WAY = r"put it into ~/.netrc, or write \${NAME} in its place, set NAME, and name it in pass_env: [NAME]"


def problems(raw: Any, resolved: Any, where: str = "") -> Iterator[str]:
    """A sentence for each value of a configuration that holds a secret; the secret is not repeated.

    `raw` is it as written, `resolved` with its interpolations worked out.
    """
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            yield from problems(value, resolved[key], f"{where}.{key}" if where else str(key))
    elif isinstance(raw, list):
        for place, value in enumerate(raw):
            yield from problems(value, resolved[place], f"{where}[{place}]")
    elif isinstance(raw, str):
        named = [name for name in FROM_ENVIRONMENT.findall(raw) if secret_word(name)]
        if named:
            yield (
                f"{where} takes {named[0]} from the environment, and would be stored in clear; have the step read it "
                f"itself, and name it in pass_env: [{named[0]}]"
            )
        # What is taken from another key is told of that one.
        elif not re.fullmatch(r"\$\{[\w.]+\}", raw) and (found := found_in(str(resolved))):
            yield refusal(where, found)


def refusal(where: str, found: str) -> str:
    """The sentence for a value that holds a secret."""
    return f"{where} holds a secret ({found}), which would be stored in clear; {RIGHT_WAY}"


def found_in(text: str) -> str:
    """What gives a secret away in the addresses that a text holds, in words; "" where there is none."""
    for address in (text.strip(), *ADDRESS.findall(text)):
        if ADDRESS.match(address):
            try:
                if found := secret_in(SSH_USER.sub("ssh://", address)):
                    return found
            except ValueError:  # no address: whoever asks there says so
                continue
    return ""


def masked(text: str) -> str:
    """A text with the secrets in its addresses left out, for messages that repeat what was typed."""

    def hide(setting: re.Match[str]) -> str:
        return f"{setting[1]}=…" if secret_word(setting[1]) else setting[0]

    return SETTING.sub(hide, re.sub(r"(?<=://)[^/\s]*@", "…@", text))
