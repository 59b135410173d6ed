"""A model folder is data from anybody: what could run code is refused before it is opened."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import skops.io
import yaml
from estimators import build, hyperparameters
from evaluation_model import TRUSTED_TYPES, EvaluationError, open_model
from make_sample import passengers
from sklearn.preprocessing import FunctionTransformer
from skops_flavor import TRUSTED_TYPES as WRITTEN
from skops_flavor import dumps
from training_data import FEATURES, TARGET

MLMODEL = {
    "flavors": {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.skops", "predict_fn": "predict"},
        "sklearn": {"pickled_model": "model.skops", "serialization_format": "skops", "skops_trusted_types": WRITTEN},
    },
    "run_id": "abc",
    "model_id": "m-1",
    "signature": {"inputs": str([{"type": "string", "name": name, "required": True} for name in FEATURES])},
}


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "model"
    folder.mkdir()
    frame = passengers(100)
    model = build("logistic_regression", hyperparameters("logistic_regression", {}), 0)
    (folder / "model.skops").write_bytes(dumps(model.fit(frame[FEATURES], frame[TARGET])))
    (folder / "MLmodel").write_text(yaml.safe_dump(MLMODEL))
    return folder


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "model"))


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return os.mkdir, (str(self.path),)


def test_a_model_saved_by_training_is_opened(folder: Path) -> None:
    model = open_model(folder)
    assert (model.run_id, model.model_id, model.columns) == ("abc", "m-1", FEATURES)
    assert model.probability(passengers(30)).between(0, 1).all()
    assert set(WRITTEN) <= set(TRUSTED_TYPES)


def change(flavor: str, **values: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        specification = yaml.safe_load((folder / "MLmodel").read_text())
        specification["flavors"].setdefault(flavor, {}).update(values)
        (folder / "MLmodel").write_text(yaml.safe_dump(specification))

    return edit


@pytest.mark.parametrize(
    "spoil",
    [
        change("sklearn", serialization_format="cloudpickle"),
        change("sklearn", pickled_model="model.pkl"),
        change("sklearn", skops_trusted_types=["os.system"]),
        change("sklearn", code="code"),
        change("python_function", loader_module="mlflow.pyfunc.model"),
        change("python_function", model_path="model.pkl"),
        change("pytorch", model_data="data"),
        lambda folder: (folder / "extra.pkl").write_bytes(b""),
        lambda folder: (folder / "model.joblib").write_bytes(b""),
        lambda folder: (folder / "link").symlink_to("/etc/passwd"),
    ],
)
def test_whatever_could_run_code_is_refused_before_loading(
    folder: Path, spoil: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(folder)
    monkeypatch.setattr(skops.io, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(EvaluationError, match="is refused") as error:
        open_model(folder)
    assert "\n" not in str(error.value)


def test_a_pickle_under_the_name_of_a_skops_file_is_refused_and_not_loaded(folder: Path, tmp_path: Path) -> None:
    (folder / "model.skops").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(EvaluationError, match=r"no readable model\.skops"):
        open_model(folder)
    assert not (tmp_path / "exploded").exists()


def test_a_skops_file_with_a_function_that_runs_commands_is_refused(folder: Path) -> None:
    skops.io.dump(FunctionTransformer(os.system), folder / "model.skops")
    with pytest.raises(EvaluationError, match="not trusted"):
        open_model(folder)


@pytest.mark.parametrize("content", [b"", b"flavors: [", b"!!python/object/apply:os.system [echo]", b"\xff\xfe"])
def test_a_folder_without_a_readable_mlmodel_is_refused(folder: Path, content: bytes) -> None:
    (folder / "MLmodel").write_bytes(content)
    with pytest.raises(EvaluationError, match="no MLflow model"):
        open_model(folder)


def test_a_damaged_file_is_told_in_one_sentence(folder: Path) -> None:
    data = (folder / "model.skops").read_bytes()
    (folder / "model.skops").write_bytes(data[: len(data) // 2])
    with pytest.raises(EvaluationError, match="train it again"):
        open_model(folder)
