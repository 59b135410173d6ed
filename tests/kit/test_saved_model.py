"""A model folder is data from anybody: what could run code is refused before it is opened, the same in every step."""

import os
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import saved_model
import skops.io
import skops_flavor
import yaml
from saved_model import TRUSTED_TYPES, champion_uri, open_model
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import model_columns, register_model, rows, save_model, table


class Payload:
    """Unpickling this writes a file: whoever loads it runs what its author wanted."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("plain") / "model", table(BINARY), rows(BINARY, 100))


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """A copy of the good model, for a test to spoil."""
    return Path(shutil.copytree(plain, tmp_path / "copy"))


def change(flavor: str, **values: object) -> Callable[[Path], None]:
    """Set keys of a flavor in MLmodel; None takes one out."""

    def edit(folder: Path) -> None:
        meta = yaml.safe_load((folder / "MLmodel").read_text())
        of = meta["flavors"].setdefault(flavor, {})
        of.update(values)
        meta["flavors"][flavor] = {name: value for name, value in of.items() if value is not None}
        (folder / "MLmodel").write_text(yaml.safe_dump(meta))

    return edit


def refusal(folder: Path) -> str:
    with pytest.raises(StepError) as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_saved_by_training_is_opened(plain: Path) -> None:
    model = open_model(plain)
    assert list(model.columns) == model_columns(table(BINARY))
    assert model.predict(rows(BINARY, 30))["probability"].between(0, 1).all()
    assert set(skops_flavor.TRUSTED_TYPES) == set(TRUSTED_TYPES)


def test_no_type_is_trusted_that_can_run_code() -> None:
    """Plain data, or functions of numbers alone."""
    assert all(name.startswith(("numpy.", "sklearn.")) for name in TRUSTED_TYPES)
    assert not {"load", "fromfile", "memmap", "genfromtxt", "save"} & {name.split(".")[-1] for name in TRUSTED_TYPES}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change("sklearn", serialization_format="pickle"), "is saved as pickle, which can run code"),
        (change("sklearn", serialization_format="cloudpickle"), "is saved as cloudpickle, which can run code"),
        (change("sklearn", serialization_format=None), "is saved as pickle"),  # as MLflow reads it
        (change("sklearn", pickled_model="model.pkl"), "names no file of its own folder"),
        (change("sklearn", pickled_model="../outside.skops"), "names no file of its own folder"),
        (change("sklearn", code="code"), "brings code of its own"),
        (change("python_function", code="code"), "brings code of its own"),
        (change("python_function", loader_module="mlflow.pyfunc.model"), "brings code of its own"),
        (change("python_function", loader_module="evil_loader"), "brings code of its own"),
        (change("python_function", model_path="other.skops"), "names another file as the model to MLflow"),
        (change("python_function", data="other"), "names another file as the model to MLflow"),
        (lambda folder: (folder / "extra.pkl").write_bytes(b""), r"carries a pickle (extra.pkl)"),
        (lambda folder: (folder / "model.joblib").write_bytes(b""), r"carries a pickle (model.joblib)"),
        (lambda folder: (folder / "notes.txt").write_bytes(pickle.dumps(1)), r"carries a pickle (notes.txt)"),
        (lambda folder: (folder / "dataset.json").unlink(), "has no dataset.json"),
    ],
)
def test_whatever_could_run_code_is_refused_before_loading(
    folder: Path, spoil: Callable[[Path], object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(folder / "model.skops", folder.parent / "outside.skops")
    mark = folder.parent / "code_was_run"
    (folder / "code").mkdir()
    (folder / "code" / "evil_loader.py").write_text(f"open({str(mark)!r}, 'w')")
    spoil(folder)
    monkeypatch.setattr(skops.io, "load", lambda *_, **__: pytest.fail("it was loaded"))
    assert said in refusal(folder)
    assert not mark.exists()
    assert not any("copy" in path for path in sys.path)


@pytest.mark.parametrize(
    "add",
    [
        lambda folder: (folder / "notes.md").write_text("how it was made"),
        lambda folder: (folder / "features.py").write_text("raise SystemExit"),
        lambda folder: (folder / "fast.so").write_bytes(b"\x7fELF"),
        lambda folder: (folder / "latest").symlink_to("model.skops"),
        lambda folder: (folder / "elsewhere").symlink_to("/etc"),
        lambda folder: (folder / "registered_model_meta").write_text("- no block: ["),
        change("onnx", data="model.onnx"),
        change("sklearn", skops_trusted_types=["os.system"]),
    ],
)
def test_what_nothing_loads_beside_the_model_does_not_keep_it_from_being_opened(
    folder: Path, add: Callable[[Path], object]
) -> None:
    add(folder)
    assert open_model(folder).label


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_in_the_models_place_does_not_run(folder: Path, protocol: int) -> None:
    mark = folder.parent / "code_was_run"
    (folder / "model.skops").write_bytes(pickle.dumps(Payload(mark), protocol))
    refusal(folder)
    assert not mark.exists()
    pickle.loads((folder / "model.skops").read_bytes())  # noqa: S301  # it would have
    assert mark.exists()


def test_a_pickle_inside_the_models_zip_is_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.skops", "a") as packed:
        packed.writestr("hidden", pickle.dumps(1))
    assert "carries a pickle (model.skops)" in refusal(folder)


def test_an_archive_that_would_fill_the_memory_is_not_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_model, "MAX_UNPACKED", 1000)
    assert "unpacks to more than" in refusal(folder)


def test_types_that_are_not_trusted_are_refused_though_the_model_itself_trusts_them(folder: Path) -> None:
    file = folder / "model.skops"
    file.write_bytes(skops.io.dumps({"path": Path}))  # any class outside scikit-learn
    unknown = skops.io.get_untrusted_types(file=file)
    assert unknown
    change("sklearn", skops_trusted_types=unknown)(folder)
    assert f"holds types that are not trusted, so it is not loaded: {unknown[0]}" in refusal(folder)
    file.write_bytes(skops.io.dumps(FunctionTransformer(os.system)))
    assert "posix.system" in refusal(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"flavors: [", b"flavors: [!!python/object/apply:os.system ['true']]", b"\xff\xfe", b"flavors: 1", b"- 1"],
)
def test_a_folder_without_a_readable_mlmodel_is_refused(folder: Path, content: bytes) -> None:
    (folder / "MLmodel").write_bytes(content)
    assert "no readable MLmodel" in refusal(folder)


def test_what_is_no_model_is_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    assert "neither a folder nor a URI" in refusal(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "no readable MLmodel" in refusal(tmp_path / "empty")
    data = (folder / "model.skops").read_bytes()
    (folder / "model.skops").write_bytes(data[: len(data) // 2])
    assert "not one that skops can load" in refusal(folder)
    (folder / "MLmodel").write_text("flavors: {keras: {}}")
    assert "not a scikit-learn model (it has: keras)" in refusal(folder)


def test_a_model_without_a_signature_is_refused(folder: Path) -> None:
    meta = yaml.safe_load((folder / "MLmodel").read_text())
    (folder / "MLmodel").write_text(yaml.safe_dump({name: meta[name] for name in meta if name != "signature"}))
    assert "no signature" in refusal(folder)


def test_a_model_that_does_not_predict_what_its_declaration_says_is_refused(folder: Path) -> None:
    (folder / "dataset.json").write_text(table(MULTICLASS).json())
    assert "is not a classifier of low, mid, top" in refusal(folder)
    (folder / "dataset.json").write_text(table(REGRESSION).json())
    assert "predicts no number" in refusal(folder)
    (folder / "dataset.json").write_text(table(BINARY).json())
    (folder / "model.skops").write_bytes(skops.io.dumps(LinearRegression().fit([[0], [1]], [0, 1])))
    assert "is not a classifier of 0, 1" in refusal(folder)


@pytest.mark.integration
def test_a_registered_model_is_known_by_its_version_whichever_way_it_is_named(store: str) -> None:
    import mlflow

    of = table(BINARY)
    register_model(of, rows(BINARY, 100))
    version = register_model(of, rows(BINARY, 100), "champion")
    info = mlflow.MlflowClient().get_model_version(of.name, version)
    folder = mlflow.artifacts.download_artifacts(info.source)
    for uri in (champion_uri(), f"models:/{of.name}/2", f"runs:/{info.run_id}/model", folder):
        model = open_model(uri)
        assert (model.name, model.version, model.run_id, model.label) == (of.name, "2", info.run_id, "2")
    with pytest.raises(StepError, match=f"models:/{of.name}@challenger could not be downloaded"):
        open_model(f"models:/{of.name}@challenger")
