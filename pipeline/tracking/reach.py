"""Whether anybody listens where the tracking store is to be: known before MLflow is imported, which takes seconds."""

import re
import socket
import urllib.parse

from pipeline.errors import StoreError

TIMEOUT = 3.0  # seconds for a server to take a connection
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def check_connection(uri: str) -> None:
    """Connect once to the server that a tracking URI names; files, plugins and what lies behind a proxy are not asked.

    Raises:
        StoreError: it takes no connection.
    """
    parts = urllib.parse.urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme not in PORTS or not parts.hostname:
        return
    from urllib.request import getproxies, proxy_bypass  # takes a while, and most stores are files

    if scheme in getproxies() and not proxy_bypass(parts.hostname):
        return
    try:
        socket.create_connection((parts.hostname, parts.port or PORTS[scheme]), TIMEOUT).close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise StoreError(does_not_answer(uri, why)) from None


def does_not_answer(uri: str, why: str) -> str:
    """The sentence for a store that is not there."""
    where = without_password(uri)
    return f"the tracking store {where} does not answer ({why}); start it, or set MLFLOW_TRACKING_URI to where one is"


def without_password(uri: str) -> str:
    """The address without the user name and password that may be in it."""
    return re.sub(r"//[^/@]*@", "//…@", uri)
