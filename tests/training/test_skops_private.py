"""What training uses of skops' private parts does what skops' public functions do, also in its next release."""

import io
import json
import zipfile

import pandas as pd
import pytest
import skops.io
from estimators import DEFAULTS, build, hyperparameters
from make_sample import passengers
from skops_flavor import KNOWN_TYPES, TRUSTED_TYPES, canonical_file, dump_with_types
from skops_private import TRUSTED_BY_SKOPS
from training_data import FEATURES, TARGET


@pytest.fixture(scope="module", params=DEFAULTS)
def model(request: pytest.FixtureRequest) -> object:
    frame: pd.DataFrame = passengers(150)
    return build(request.param, hyperparameters(request.param, {}), 0).fit(frame[FEATURES], frame[TARGET])


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
