"""What training uses of skops' private parts does what skops' public functions do, also in its next release."""

import io
import json
import zipfile

import pytest
import skops.io
from saved_model import TRUSTED_TYPES
from skops_flavor import KNOWN_TYPES, canonical_file, dump_with_types
from skops_private import TRUSTED_BY_SKOPS

from tests.training.test_estimators import TABLES, frame_of, recipe


@pytest.fixture(
    scope="module", params=[one for one in TABLES if "titanic" in one or "soft_vote" not in one], ids="-".join
)
def model(request: pytest.FixtureRequest) -> object:
    task, name = request.param
    return recipe(task, name).fit(frame_of(task))


def test_the_state_of_a_model_is_what_dumps_writes(model: object) -> None:
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    data, types = canonical_file(json.loads(files.pop("schema.json")), files)
    assert (data, types) == dump_with_types(model)


def test_what_is_taken_for_trusted_is_trusted_by_skops(model: object) -> None:
    data, types = dump_with_types(model)
    assert types <= KNOWN_TYPES
    untrusted = set(skops.io.get_untrusted_types(data=data))
    assert untrusted == types - TRUSTED_BY_SKOPS
    assert untrusted <= set(TRUSTED_TYPES)
