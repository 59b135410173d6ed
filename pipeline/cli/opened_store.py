"""The store of the commands that run no step."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.tracking.store import TrackingStore


@contextlib.contextmanager
def opened_store() -> Iterator["TrackingStore"]:
    """The one that the environment names; what it raises meanwhile is said in a sentence."""
    from pipeline.session import silence_loggers
    from pipeline.tracking.store import TrackingStore

    silence_loggers(verbose=False)
    store = TrackingStore()
    with store.told():
        yield store
