"""The README's data dictionary is the schema's own."""

import re

from schema import data_dictionary

from tests.conftest import ROOT


def test_the_readme_has_the_data_dictionary_of_the_schema():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- data dictionary -->\n(.*?)<!-- /data dictionary -->", text, re.DOTALL)
    assert found, "README.md has no markers <!-- data dictionary --> and <!-- /data dictionary -->"
    assert found[1].strip() == data_dictionary().strip(), "paste what `python data_cleaning/schema.py` prints"
