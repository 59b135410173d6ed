"""What an address may hold: it is stored with the run in clear."""

import re
import urllib.parse

from download_error import DownloadError

SECRET_NAME = re.compile(
    r"(?i)token|passw(?:or)?d|passphrase|secret|signature|credential|bearer|authorization"
    r"|(?<![a-z])(?:sig|key|auth|pwd|jwt|(?:api|access)key)(?![a-z])"
)


def refuse_credentials(data_url: str) -> None:
    """Parameters are stored in clear, so no secret may be part of the address.

    Raises:
        DownloadError: a user name, password or token is in `data_url` (which is not repeated), or it is no address.
    """
    try:
        parts = urllib.parse.urlsplit(data_url)
    except ValueError:  # its own text repeats the address
        raise DownloadError(
            "data_url is not a valid address: what stands between // and the next / is no host"
        ) from None
    if has_user(parts):
        found = "something before an @"
    elif secret := secret_name(parts):
        found = f"the key {secret!r}"
    else:
        return
    raise DownloadError(
        f"data_url carries credentials ({found}), which would be stored with the run in clear; "
        "put them in ~/.netrc instead and give the address without them"
    )


def has_user(parts: urllib.parse.SplitResult) -> bool:
    """Whether a name or token stands before the host. In a path an @ is a letter like any other."""
    remote = bool(parts.scheme) and parts.scheme != "file" and len(parts.scheme) > 1
    # https:/name@host and https:name@host: meant to be an address with a host, whatever it is read as.
    host = parts.netloc or (parts.path.lstrip("/").partition("/")[0] if remote else "")
    return "@" in urllib.parse.unquote(urllib.parse.unquote(host))


def secret_name(parts: urllib.parse.SplitResult) -> str:
    """The word that marks a key of the query, the fragment or a path parameter as a secret's; empty: none does."""
    settings = re.split("[&;?]", f"{parts.query}&{parts.fragment}") + parts.path.split(";")[1:]
    for setting in settings:
        key = urllib.parse.unquote_plus(setting.partition("=")[0])
        if found := SECRET_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key)) or SECRET_NAME.search(key):
            return found.group().lower()
    return ""
