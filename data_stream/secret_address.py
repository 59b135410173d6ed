"""Whether an address holds a secret: something before its host, or a key that is called as secrets are.

This file is of kit/, which `make kit` copies to the steps that use it, and to pipeline/: edit it there.
"""

import re
import urllib.parse

SECRET_NAME = re.compile(
    r"(?i)token|passw(?:or)?d|passphrase|secret|signature|credential|bearer|authorization"
    r"|(?<![a-z])(?:sig|key|auth|pwd|jwt|(?:api|access)key)(?![a-z])|odbc_connect"
)
DATABASES = ("postgresql", "mysql", "mariadb", "mssql", "oracle", "sqlite")  # before a + and the driver's name
VARIABLE = re.compile(r"\$\{(\w+)\}")  # stands for the value of an environment variable, which is stored nowhere


def secret_in(address: str) -> str:
    """What gives a secret in an address away, in words that do not repeat it; "" where there is none.

    Raises:
        ValueError: it is no address; the error's own text repeats it.
    """
    parts = urllib.parse.urlsplit(address)
    if has_user(parts):
        return "something before an @"
    name = secret_name(parts)
    return f"the key {name!r}" if name else ""


def has_user(parts: urllib.parse.SplitResult) -> bool:
    """Whether a name or token stands before the host. In a path an @ is a letter like any other.

    Who asks a database is no secret; the password must be `${NAME}`.
    """
    if parts.scheme.partition("+")[0] in DATABASES:
        password = parts.netloc.rpartition("@")[0].partition(":")[2]
        return bool(password) and not VARIABLE.fullmatch(password)
    # https:/name@host and https:name@host: meant to be an address with a host, whatever it is read as.
    meant = parts.path.lstrip("/").partition("/")[0] if parts.scheme in ("http", "https") else ""
    return "@" in urllib.parse.unquote(urllib.parse.unquote(parts.netloc or meant))


def secret_name(parts: urllib.parse.SplitResult) -> str:
    """The word that marks a key of the query, the fragment or a path parameter as a secret's; "" where none does."""
    for setting in re.split("[&;?]", f"{parts.query}&{parts.fragment}") + parts.path.split(";")[1:]:
        key, _, value = setting.partition("=")
        if not VARIABLE.fullmatch(value) and (found := secret_word(urllib.parse.unquote_plus(key))):
            return found
    return ""


def secret_word(name: str) -> str:
    """The word in a name that says that what it names is a secret; "" where none does."""
    found = SECRET_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)) or SECRET_NAME.search(name)
    return found.group().lower() if found else ""
