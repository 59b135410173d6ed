"""What steps share: each has its own copy, and every copy is the original."""

from pathlib import Path

import pytest
from predictions import METRICS, probability_columns
from saved_model import open_model
from table import BINARY, MULTICLASS, REGRESSION

from kit.vendor import copies
from tests.example_tables import model_columns, register_model, rows, save_model, table


def test_every_copy_is_as_the_original():
    different = [str(copy) for copy, original in copies().items() if copy.read_bytes() != original.read_bytes()]
    assert not different, "edit the file in kit/ and run `make kit`"


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION])
def test_a_clean_table_is_written_as_it_was_read(task, tmp_path):
    of, frame = table(task), rows(task)
    of.write(frame, tmp_path / "one.csv")
    read = of.read(tmp_path / "one.csv")
    of.write(read, tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert read[of.target.name].tolist() == frame[of.target.name].tolist()


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION])
def test_a_model_is_opened_with_its_declaration_and_predicts_its_task(task, tmp_path):
    of, frame = table(task), rows(task)
    model = open_model(save_model(tmp_path / "model", of, frame))
    said = model.predict(frame)
    assert list(model.columns) == model_columns(of)
    assert list(said) == [of.target.name, *probability_columns(of)]
    from predictions import score

    metrics = score(model.table, frame[of.target.name], said)
    assert tuple(metrics) == METRICS[task]
    assert metrics[METRICS[task][0]] > 0.8


def test_a_registered_model_is_opened_by_its_alias(store, tmp_path):
    of, frame = table(BINARY), rows(BINARY)
    version = register_model(of, frame, "champion")
    model = open_model(f"models:/{of.name}@champion")
    assert (model.name, model.version) == (of.name, version)
    assert Path(model.folder, "dataset.json").is_file()
