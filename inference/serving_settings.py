"""What a server is told: its limits, and who may ask. Handed to its worker processes through the environment."""

import ipaddress
import json
import os
from dataclasses import asdict, dataclass

from step_error import StepError

KEY_VARIABLE = "INFERENCE_API_KEY"  # of the environment alone: MLflow stores parameters for all to read
SETTINGS_VARIABLE = "INFERENCE_SERVING"


@dataclass(frozen=True)
class Settings:
    """The limits of a server.

    folder, uri: the model's local folder, and what it was asked for by; a URI with an alias is looked at again.
    reload_seconds: between looks at the alias; 0: never.
    max_bytes, max_rows: of a request.
    max_waiting: requests that are read and not yet answered.
    read_seconds: in which a request must have come, its body included.
    max_seconds: in which it must have been answered after that.
    """

    folder: str = ""
    uri: str = ""
    reload_seconds: float = 10
    max_bytes: int = 1 << 25
    max_rows: int = 300_000
    max_waiting: int = 256
    read_seconds: float = 10
    max_seconds: float = 120

    def hand_on(self) -> None:
        """To processes that are started from now on."""
        os.environ[SETTINGS_VARIABLE] = json.dumps(asdict(self))


def handed_on() -> Settings:
    return Settings(**json.loads(os.environ[SETTINGS_VARIABLE]))


def refuse_open_door(host: str, insecure: bool) -> None:
    """Raises StepError where anybody who reaches the address could ask."""
    if not (os.environ.get(KEY_VARIABLE) or insecure or is_loopback(host)):
        raise StepError(
            f"host={host} can be reached from other machines and there is no API key; set the environment variable "
            f"{KEY_VARIABLE} to one, or give insecure=true to answer anybody"
        )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
