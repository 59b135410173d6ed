"""The server holds to its own contract, /openapi.json, whatever is asked, well-formed or not."""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from saved_model import open_model
from serving_settings import Settings

from tests.inference.in_process import Client, running

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not here: pip install -r requirements-dev.lock"
)
pytestmark = pytest.mark.integration
REQUESTS = int(os.environ.get("PIPELINE_REQUESTS", "300"))


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=str)
def test_whatever_is_asked_the_answer_is_one_that_the_contract_names(model_folder, mode):
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    named = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
    with running(open_model(str(model_folder)), Settings(folder=str(model_folder))) as port:
        contract = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        answers = Counter()

        @seed(0)
        @settings(
            max_examples=REQUESTS // 2,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=contract.as_strategy(generation_mode=mode))
        def ask(case):
            response = case.call()
            answers[f"{case.path} {response.status_code}"] += 1
            case.validate_response(response, checks=[not_a_server_error, *named])

        ask()
        assert Client(port).get("/ready")[0] == 200
    print(f"{mode}: {dict(sorted(answers.items()))}")
    assert {"/invocations 200", "/invocations 400"} <= set(answers), "what it takes, and what it refuses"
