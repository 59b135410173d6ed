"""Ask a database for a table, by SQLAlchemy. No MLflow here."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from address import with_variables
from clock import Clock, TimeIsUp
from download_error import DownloadError, out_of_time, printable, root_cause
from secret_address import VARIABLE
from sqlalchemy import URL, CursorResult, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from table_file import ROWS, csv_text

PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # other names


@contextmanager
def open_query(data_url: str, query: str, *, timeout: float) -> Iterator[Iterator[bytes]]:
    """The rows that the query gives, in its order, as CSV in chunks.

    Raises:
        DownloadError: there is no such database, it does not let us in, or the query gives no table in time.
    """
    clock, name = Clock(timeout), printable(data_url, 500)
    if not query.strip():
        raise DownloadError(f"{name} is a database: query is empty; give the SQL whose rows are the table")
    with told_as_sentence(data_url, name, clock):
        url = address(data_url)
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments(url, clock))
        connection = clock.wait_for(engine.connect)
        result = clock.wait_for(lambda: connection.execution_options(**OPTIONS).exec_driver_sql(query))
        if not result.returns_rows:
            raise DownloadError(f"the query gives no rows, whatever is in {name}; a SELECT is needed")
    with connection, closing(result):
        yield told_while_read(result, data_url, name, clock)


# A % in the query is a % there, and rows come as they are asked for.
OPTIONS: dict[str, Any] = {"no_parameters": True, "stream_results": True, "postgresql_readonly": True}


def address(data_url: str) -> URL:
    """The address with each `${NAME}` in it replaced by that environment variable, whatever letters it holds."""
    url = make_url(data_url)
    return url.set(
        username=with_variables(url.username or ""),
        password=with_variables(url.password or ""),
        host=with_variables(url.host or ""),
        database=with_variables(url.database or ""),
        query={key: with_variables(value) if isinstance(value, str) else value for key, value in url.query.items()},
    )


def arguments(url: URL, clock: Clock) -> dict[str, Any]:
    """What PostgreSQL is told, so that it does not go on with a query that nobody waits for."""
    if url.get_backend_name() != "postgresql" or "options" in url.query:
        return {}
    return {"connect_timeout": int(clock.silence), "options": f"-c statement_timeout={int(clock.timeout * 1000)}"}


def rows(result: CursorResult[Any]) -> Iterator[Any]:
    yield list(result.keys())
    for part in result.partitions(ROWS):
        yield from part


def told_while_read(result: CursorResult[Any], data_url: str, name: str, clock: Clock) -> Iterator[bytes]:
    with told_as_sentence(data_url, name, clock):
        yield from clock.wait_for_each(csv_text(rows(result)))


@contextmanager
def told_as_sentence(data_url: str, name: str, clock: Clock) -> Iterator[None]:
    """What goes wrong on the way, as a DownloadError that has no secret in it."""
    try:
        yield
    except TimeIsUp:
        raise DownloadError(out_of_time(name, clock.timeout)) from None
    except ModuleNotFoundError as error:
        package = PACKAGES.get(error.name or "", error.name)
        raise DownloadError(
            f"{name} needs {error.name}, which is not installed here: pip install {package}; for an environment of "
            "the step's own, add it to data_download/conda.yml and run make lock"
        ) from None
    except (SQLAlchemyError, UnicodeError) as error:
        why = " ".join(root_cause(getattr(error, "orig", None) or error).split())
        for variable in VARIABLE.findall(data_url):
            why = why.replace(os.environ.get(variable) or "\0", f"${{{variable}}}")
        raise DownloadError(f"{name} does not answer the query ({why}); check address, rights and query") from None
