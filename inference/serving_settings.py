"""What a server is told: its limits, and who may ask. Handed to its worker processes through the environment."""

import ipaddress
import json
import os
import ssl
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    max_waiting_per_client: requests under way from one address.
    read_seconds: in which a request must have come, its body included.
    max_seconds: in which it must have been answered after that.
    canary, challenger: the share of rows, 0 to 1, that the challenger answers for, and its folder or URI.
    shadow: the folder or URI of a model whose predictions are logged beside the answers.
    log: the folder that gets what was answered; "": none. log_share: of the rows, by their keys.
    log_rows, log_seconds: after which a piece of the log is closed.
    """

    folder: str = ""
    uri: str = ""
    reload_seconds: float = 10
    max_bytes: int = 1 << 25
    max_rows: int = 300_000
    max_waiting: int = 256
    max_waiting_per_client: int = 128
    read_seconds: float = 10
    max_seconds: float = 120
    canary: float = 0
    challenger: str = ""
    shadow: str = ""
    log: str = ""
    log_share: float = 1
    log_rows: int = 10_000
    log_seconds: float = 60

    def hand_on(self) -> None:
        """To processes that are started from now on."""
        os.environ[SETTINGS_VARIABLE] = json.dumps(asdict(self))


def handed_on() -> Settings:
    return Settings(**json.loads(os.environ[SETTINGS_VARIABLE]))


def tls_files(folder: str) -> dict[str, Any]:
    """uvicorn's settings for HTTPS, of a folder as Kubernetes' secrets are: tls.crt, tls.key and, where clients must
    show a certificate that is signed by it, ca.crt. None where no folder is named.

    Raises:
        StepError: what is there cannot be used.
    """
    if not folder:
        return {}
    key, certificate, authority = (Path(folder) / name for name in ("tls.key", "tls.crt", "ca.crt"))
    found: dict[str, Any] = {"ssl_keyfile": str(key), "ssl_certfile": str(certificate)}
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        if authority.exists():
            context.load_verify_locations(authority)
            found |= {"ssl_ca_certs": str(authority), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    except OSError as error:  # ssl's own errors are OSErrors
        raise StepError(
            f"tls={folder} cannot be used ({error.strerror or error}); give the full path of a folder with tls.crt and "
            "tls.key, a matching pair in PEM, and for clients' certificates ca.crt"
        ) from None
    return found


def refuse_open_door(host: str, insecure: bool, certified: bool = False) -> None:
    """Raises StepError where anybody who reaches the address could ask. `certified`: clients show a certificate."""
    if not (os.environ.get(KEY_VARIABLE) or certified or insecure or is_loopback(host)):
        raise StepError(
            f"host={host} can be reached from other machines and there is no API key; set the environment variable "
            f"{KEY_VARIABLE} to one, give tls= a folder with ca.crt, or insecure=true to answer anybody"
        )


def prepare_log(folder: str) -> None:
    """Make the folder where it is not there.

    Raises:
        StepError: it is no full path, or cannot be written to.
    """
    if not Path(folder).is_absolute():
        raise StepError(f"log={folder!r} is no full path, and would be in the step's own folder; give one")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StepError(f"log={folder!r} cannot be written to ({error.strerror}); give another folder") from None


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
