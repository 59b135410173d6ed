"""Read an object out of S3, Google Cloud Storage or Azure Blob Storage, by Apache Arrow's file systems. No MLflow here.

Who asks is what these clouds' own tools take it to be: environment variables, configuration files, the machine's role.
"""

import os
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from clock import Clock, TimeIsUp
from download_error import DownloadError, out_of_time, printable, root_cause, too_large

SCHEMES = ("s3", "gs", "az")
REQUEST_BYTES = 8 << 20  # bytes asked for at a time


@contextmanager
def open_object(data_url: str, *, timeout: float, retries: int, max_bytes: int) -> Iterator[Iterator[bytes]]:
    """The object at `data_url`, such as `s3://BUCKET/KEY`, in chunks; `retries` are S3's, the others have their own.

    Raises:
        DownloadError: it is not there, not for us, too large, too slow, or changed while it was read.
    """
    clock, name = Clock(timeout), printable(data_url, 500)
    scheme, _, path = data_url.partition("://")
    bucket, _, key = path.partition("/")
    if not bucket or not key:
        raise DownloadError(f"data_url {data_url!r} names no object; give {scheme}://BUCKET/KEY")
    with told_as_sentence(name, clock):
        files = clock.wait_for(lambda: file_system(scheme.lower(), bucket, clock, retries))
        file = clock.wait_for(lambda: files.open_input_file(path))
        if file.size() > max_bytes:
            raise DownloadError(too_large(name, max_bytes))
    yield unchanged(lambda: files.open_input_file(path), file, name, clock)


def file_system(scheme: str, bucket: str, clock: Clock, retries: int) -> Any:
    """Arrow's file system for the scheme, set up by the variables that the cloud's own command line knows."""
    from pyarrow import fs  # here: its import takes longer than a small download

    at = os.environ.get
    if scheme == "s3":
        endpoint = at("AWS_ENDPOINT_URL_S3") or at("AWS_ENDPOINT_URL")
        region = at("AWS_REGION") or at("AWS_DEFAULT_REGION")
        return fs.S3FileSystem(
            endpoint_override=endpoint,
            region=region or (None if endpoint else fs.resolve_s3_region(bucket)),
            connect_timeout=clock.silence,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=retries + 1),
        )
    if scheme == "gs":
        emulator = urllib.parse.urlsplit(at("STORAGE_EMULATOR_HOST", ""))
        elsewhere = {"anonymous": True, "scheme": emulator.scheme, "endpoint_override": emulator.netloc}
        return fs.GcsFileSystem(
            retry_time_limit=timedelta(seconds=clock.timeout), **(elsewhere if emulator.netloc else {})
        )
    if not (account := at("AZURE_STORAGE_ACCOUNT")):
        raise DownloadError(
            "az:// takes the name of the storage account from AZURE_STORAGE_ACCOUNT, which is not set; set it, and in "
            "the pipeline name it in config.yaml: pass_env: [AZURE_*]"
        )
    service = urllib.parse.urlsplit(at("AZURE_STORAGE_SERVICE_ENDPOINT", ""))
    elsewhere = {"blob_storage_scheme": service.scheme, "blob_storage_authority": service.netloc}
    return fs.AzureFileSystem(
        account,
        account_key=at("AZURE_STORAGE_KEY"),
        sas_token=at("AZURE_STORAGE_SAS_TOKEN"),
        **(elsewhere if service.netloc else {}),
    )


def unchanged(again: Callable[[], Any], file: Any, name: str, clock: Clock) -> Iterator[bytes]:
    """The file in chunks, each of which is a request of its own: that they are of one content shows in its ETag."""
    with told_as_sentence(name, clock):
        yield from clock.wait_for_each(iter(lambda: file.read(REQUEST_BYTES), b""))
        if etag(clock.wait_for(again)) != etag(file):
            raise DownloadError(f"{name} changed while it was read; try again")


def etag(file: Any) -> bytes | None:
    return {key.lower(): value for key, value in file.metadata().items()}.get("etag")


@contextmanager
def told_as_sentence(name: str, clock: Clock) -> Iterator[None]:
    """What goes wrong on the way, as a DownloadError."""
    try:
        yield
    except TimeIsUp:
        raise DownloadError(out_of_time(name, clock.timeout)) from None
    except FileNotFoundError:
        raise DownloadError(f"{name} is not there; check its bucket and key, letter by letter") from None
    except OSError as error:
        raise DownloadError(
            f"{name} cannot be read ({root_cause(error)}); check the address, and who asks: credentials come from the "
            "environment, in the pipeline by pass_env in config.yaml"
        ) from error
