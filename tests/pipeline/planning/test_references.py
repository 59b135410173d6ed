"""What a parameter points at: content that can be looked at, or an address that must be asked again."""

import pytest

from pipeline.planning.references import remote_address


@pytest.mark.parametrize(
    "address",
    ["https://h/x.csv", " HTTP://h/x", "s3://bucket/x", "az://a/x", "postgresql+psycopg://me@h/db", "nats://h:4222"],
)
def test_what_lies_elsewhere_may_have_changed(address):
    assert remote_address(["", "data/x.csv", address]) == address.strip()


@pytest.mark.parametrize(
    "value",
    ["", "x.csv", "C:\\x.csv", "/data/x.csv", "file:///data/x.csv", "runs:/1/x", "models:/m@champion", "a: b://c"],
)
def test_what_is_here_or_is_a_version_is_looked_at(value):
    assert remote_address([value]) == ""
