"""The table is declared, not programmed: no step knows a word of it."""

import re
import subprocess

import pytest

from tests.conftest import ROOT

STEPS = sorted(path.parent.name for path in ROOT.glob("*/MLproject"))
WORDS_OF_OUR_DATA = r"(?i)titanic|passenger|survived|pclass|sibsp|parch|embarked"


@pytest.mark.parametrize("folder", [*STEPS, "kit"])
def test_a_step_knows_no_word_of_the_data_beside_features_py(folder):
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", folder], cwd=ROOT, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if name != "training/features.py" and (ROOT / name).is_file():
            assert not re.findall(WORDS_OF_OUR_DATA, (ROOT / name).read_text(encoding="utf-8")), name
