"""The one place that uses private parts of skops: what `skops.io.dumps` and `skops.io.get_untrusted_types` are made of.

For the default model the public functions take about a second of CPU time to write and audit the canonical file, and
these 0.2 s: `dumps` indents a JSON of 100000 lines, which would then have to be read again. skops may change them in
any release; tests/training/test_skops_private.py compares them with what the public functions do.
"""

from typing import Any

import skops
from skops.io._trusted_types import (
    CONTAINER_TYPE_NAMES,
    NUMPY_DTYPE_TYPE_NAMES,
    PRIMITIVE_TYPE_NAMES,
    SKLEARN_ESTIMATOR_TYPE_NAMES,
    SKLEARN_INTERNAL_TYPE_NAMES,
)
from skops.io._utils import SaveContext, get_state

# Names of the types that skops loads without being told to trust them; the last ones are in no list of skops.
TRUSTED_BY_SKOPS: frozenset[str] = frozenset(
    [
        *SKLEARN_ESTIMATOR_TYPE_NAMES,
        *SKLEARN_INTERNAL_TYPE_NAMES,
        *PRIMITIVE_TYPE_NAMES,
        *CONTAINER_TYPE_NAMES,
        *NUMPY_DTYPE_TYPE_NAMES,
        "builtins.dict",
        "builtins.slice",
        "numpy.ndarray",
        "numpy.random.mtrand.RandomState",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
    ]
)


def model_state(model: object) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What `skops.io.dumps` writes into its zip: the content of schema.json, and the other files by name."""
    archive = InMemoryArchive()
    context = SaveContext(zip_file=archive)
    schema: dict[str, Any] = get_state(model, context)
    return schema | {"protocol": context.protocol, "_skops_version": skops.__version__}, archive


class InMemoryArchive(dict[str, bytes]):
    """As much of a `zipfile.ZipFile` as skops writes to: file name -> content."""

    def namelist(self) -> list[str]:
        return list(self)

    def writestr(self, name: str, content: bytes | memoryview | str) -> None:
        self[name] = content.encode() if isinstance(content, str) else bytes(content)
