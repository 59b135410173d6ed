import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from model_files import ModelError, load

from tests.inference.small_model import save_model


class Payload:
    """Unpickling this writes a file: whoever loads it runs what its author wanted."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def folder(model_folder, tmp_path):
    """A copy of the good model, for a test to spoil."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def edit(folder: Path, change) -> None:
    path = folder / "MLmodel"
    meta = yaml.safe_load(path.read_text())
    change(meta)
    path.write_text(yaml.safe_dump(meta))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_is_loaded_with_its_columns(model_folder):
    model = load(str(model_folder))
    assert list(model.classifier.classes_) == [0, 1]
    assert model.kinds["Pclass"] == "whole"
    assert model.kinds["Age"] == "number"
    assert model.kinds["Name"] == "text"


@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
def test_a_model_that_carries_a_pickle_is_refused_and_its_code_does_not_run(tmp_path, form):
    mark = tmp_path / "code_was_run"
    folder = save_model(tmp_path / "model", serialization_format=form, skops_trusted_types=None)
    (folder / "model.pkl").write_bytes(pickle.dumps(Payload(mark)))
    assert f"is saved as {form}, which can run code" in refusal(folder)
    assert not mark.exists()
    pickle.loads((folder / "model.pkl").read_bytes())  # noqa: S301  # it would have
    assert mark.exists()


def test_a_pickle_that_is_declared_as_skops_is_refused_and_does_not_run(folder, tmp_path):
    mark = tmp_path / "code_was_run"
    (folder / "model.skops").write_bytes(pickle.dumps(Payload(mark)))
    assert "carries a pickle (model.skops)" in refusal(folder)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_of_any_protocol_in_the_models_place_does_not_run(folder, tmp_path, protocol):
    mark = tmp_path / "code_was_run"
    (folder / "model.skops").write_bytes(pickle.dumps(Payload(mark), protocol))
    refusal(folder)
    assert not mark.exists()


def test_a_pickle_beside_the_model_or_inside_its_zip_is_refused(folder, tmp_path):
    (folder / "extra.pkl").write_bytes(b"")
    assert "carries a pickle (extra.pkl)" in refusal(folder)
    (folder / "extra.pkl").rename(folder / "notes.txt")
    (folder / "notes.txt").write_bytes(pickle.dumps(1))
    assert "carries a pickle (notes.txt)" in refusal(folder)
    (folder / "notes.txt").unlink()
    with zipfile.ZipFile(folder / "model.skops", "a") as packed:
        packed.writestr("hidden", pickle.dumps(1))
    assert "carries a pickle (model.skops)" in refusal(folder)


def test_no_format_said_is_read_as_mlflow_does_as_pickle(folder):
    edit(folder, lambda meta: meta["flavors"]["sklearn"].pop("serialization_format"))
    assert "is saved as pickle" in refusal(folder)


def test_a_model_that_brings_code_is_refused_and_it_is_not_imported(folder, tmp_path):
    mark = tmp_path / "code_was_run"
    (folder / "code").mkdir()
    (folder / "code" / "evil_loader.py").write_text(f"open({str(mark)!r}, 'w')")
    edit(folder, lambda meta: meta["flavors"]["python_function"].update(code="code"))
    assert "brings code of its own" in refusal(folder)
    edit(folder, lambda meta: meta["flavors"]["python_function"].update(code=None, loader_module="evil_loader"))
    assert "brings code of its own" in refusal(folder)
    assert not mark.exists()
    assert not any("copy" in path for path in sys.path)


def test_types_that_are_not_trusted_are_refused_though_the_model_itself_trusts_them(folder):
    import skops.io

    class_of_ours = Path  # any class outside scikit-learn
    file = folder / "model.skops"
    file.write_bytes(skops.io.dumps({"path": class_of_ours}))
    unknown = skops.io.get_untrusted_types(file=file)
    assert unknown
    edit(folder, lambda meta: meta["flavors"]["sklearn"].update(skops_trusted_types=unknown))
    assert f"holds types that are not trusted, so it is not loaded: {unknown[0]}" in refusal(folder)


def test_a_function_that_is_not_trusted_is_refused(folder):
    import os

    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    (folder / "model.skops").write_bytes(skops.io.dumps(FunctionTransformer(os.system)))
    assert "posix.system" in refusal(folder)


def test_a_file_outside_the_models_folder_is_not_opened(folder, tmp_path):
    shutil.copy(folder / "model.skops", tmp_path / "outside.skops")
    edit(folder, lambda meta: meta["flavors"]["sklearn"].update(pickled_model="../outside.skops"))
    assert "names no file of its own folder" in refusal(folder)


def test_what_is_no_model_is_refused(folder, tmp_path):
    assert "neither a folder nor a URI" in refusal(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "no readable MLmodel" in refusal(tmp_path / "empty")
    edit(folder, lambda meta: meta.pop("signature"))
    assert "no signature" in refusal(folder)
    (folder / "model.skops").write_text("damaged")
    assert "not one that skops can load" in refusal(folder)
    (folder / "MLmodel").write_text("flavors: [!!python/object/apply:os.system ['true']]")
    assert "no readable MLmodel" in refusal(folder)
    (folder / "MLmodel").write_text("flavors: {keras: {}}")
    assert "not a scikit-learn model (it has: keras)" in refusal(folder)


def test_a_regression_is_not_a_classifier_of_survival(folder):
    import skops.io
    from sklearn.linear_model import LinearRegression

    (folder / "model.skops").write_bytes(skops.io.dumps(LinearRegression().fit([[0], [1]], [0, 1])))
    assert "not a classifier of 0 and 1" in refusal(folder)


@pytest.mark.integration
def test_a_registered_model_is_known_by_its_version_whichever_way_it_is_named(register):
    import mlflow

    register()
    version = register("champion")
    info = mlflow.MlflowClient().get_model_version("titanic", version)
    for uri in ("models:/titanic@champion", "models:/titanic/2", f"runs:/{info.run_id}/model"):
        model = load(uri)
        assert (model.name, model.version, model.run_id, model.label) == ("titanic", "2", info.run_id, "2")
    assert load(str(mlflow.artifacts.download_artifacts(info.source))).version == "2"
    with pytest.raises(ModelError, match="models:/titanic@challenger could not be downloaded"):
        load("models:/titanic@challenger")
