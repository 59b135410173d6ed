"""The suite itself: the same tests wherever and whenever it is collected."""

import os
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT


def collected(hash_seed: str) -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    environ = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.integration
def test_every_collection_finds_the_same_tests_in_the_same_order():
    """pytest-xdist stops where two workers collect differently: a second later, with other hashes."""
    first = collected("1")
    time.sleep(1.1)  # what writes the time of day into a name is found out
    assert collected("2") == first
    assert len(first) > 500
