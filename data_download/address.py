"""What an address may hold: it is stored with the run in clear."""

import os
import re
import urllib.parse

from download_error import DownloadError
from secret_address import VARIABLE, secret_in


def refuse_credentials(data_url: str) -> None:
    """Parameters are stored in clear, so no secret may be part of the address.

    Raises:
        DownloadError: a user name, password or token is in `data_url` (which is not repeated), or it is no address.
    """
    try:
        found = secret_in(data_url)
    except ValueError:  # its own text repeats the address
        raise DownloadError(
            "data_url is not a valid address: what stands between // and the next / is no host"
        ) from None
    if found:
        raise DownloadError(
            f"data_url carries credentials ({found}), which would be stored with the run in clear; put them in "
            "~/.netrc and give the address without them, or write ${NAME} for what the variable NAME holds"
        )


def with_variables(data_url: str) -> str:
    """The address with each `${NAME}` replaced by that environment variable, for the server alone.

    What is a key's value is quoted as an address needs it (a token may hold + or &); what is quoted already stays.

    Raises:
        DownloadError: a variable is not set.
    """
    if missing := [name for name in VARIABLE.findall(data_url) if name not in os.environ]:
        raise DownloadError(
            f"data_url takes {missing[0]} from the environment, where it is not set; set it, and in the pipeline name "
            f"it in config.yaml: pass_env: [{missing[0]}]"
        )

    def value(match: re.Match[str]) -> str:
        is_of_a_key = data_url[: match.start()].endswith("=")
        return urllib.parse.quote(os.environ[match[1]], safe="%/") if is_of_a_key else os.environ[match[1]]

    return VARIABLE.sub(value, data_url)
