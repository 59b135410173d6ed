"""Each prediction's reasons: what its columns add to it."""

import csv
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from batch_scoring import score_file
from companions import Companions
from explanation import AT_ONCE, contributions, strongest, turns
from predictions import probability_columns
from request_rows import RequestError
from saved_model import BACKGROUND, SavedModel, open_model
from serving_batches import EXPLAINED, Job, Models, Part, score
from serving_settings import Settings
from sklearn.linear_model import LinearRegression
from step_error import StepError
from table import MULTICLASS, REGRESSION, TASKS

from tests.example_tables import TITANIC, rows, save_model, table
from tests.inference.in_process import Client, running


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SavedModel]:
    folder = tmp_path_factory.mktemp("models")
    return {task: open_model(save_model(folder / task, table(task), rows(task))) for task in TASKS}


def figure(model: SavedModel, of: pd.DataFrame) -> np.ndarray:
    """What is explained, by the predictions themselves."""
    said, names = model.predict(of), probability_columns(model.table)
    if model.table.task == REGRESSION:
        return said[model.table.target.name].to_numpy()
    if model.table.task == MULTICLASS:
        return said[list(names)].max(axis=1).to_numpy()
    return said["probability"].to_numpy()


@pytest.mark.parametrize("task", TASKS)
def test_what_the_columns_add_comes_up_to_the_prediction(models: dict[str, SavedModel], task: str) -> None:
    model, asked = models[task], rows(task, 40, seed=3)
    mean, found = contributions(model, asked)
    assert list(found) == list(model.columns)
    np.testing.assert_allclose(mean + found.sum(axis=1), figure(model, asked), rtol=0, atol=1e-8)
    if task != MULTICLASS:
        np.testing.assert_allclose(mean, figure(model, model.background).mean(), rtol=0, atol=1e-8)
    assert found["size"].abs().mean() > 3 * found["returned"].abs().mean(), "size tells most, returned nothing"


def test_of_a_sum_each_column_adds_its_own_part(models: dict[str, SavedModel]) -> None:
    """For a linear model Shapley values are known: the slope times the distance from the background's mean."""
    background = pd.DataFrame({"size": [10.0, 20, 60], "returned": [0.0, 1, 1]})
    line = LinearRegression().fit(background, 2 * background["size"] - 5 * background["returned"])
    model = replace(models[REGRESSION], estimator=line, columns=("size", "returned"), background=background)
    mean, found = contributions(model, pd.DataFrame({"size": [40.0, 30], "returned": [1.0, 0]}, index=[7, 3]))
    np.testing.assert_allclose(mean, [2 * 30 - 5 * 2 / 3] * 2)
    np.testing.assert_allclose(found, [[20, -5 / 3], [0, 10 / 3]], atol=1e-8)
    assert found.index.tolist() == [7, 3]


def test_they_are_near_the_exact_shapley_values(models: dict[str, SavedModel]) -> None:
    model, asked = models[REGRESSION], rows(REGRESSION, 20, seed=3)
    names = model.columns
    values = {}
    for size in range(len(names) + 1):
        for known in itertools.combinations(names, size):
            mixed = model.background.merge(asked[list(names)], how="cross", suffixes=("", " asked"))
            for name in known:
                mixed[name] = mixed[f"{name} asked"]
            values[known] = model.predict(mixed)["price"].to_numpy().reshape(-1, len(asked)).mean(axis=0)
    exact = pd.DataFrame(0.0, index=asked.index, columns=list(names))
    for known, value in values.items():
        for name in set(names) - set(known):
            larger = tuple(one for one in names if one in {*known, name})
            weight = 1 / math.comb(len(names) - 1, len(known)) / len(names)
            exact[name] += weight * (values[larger] - value)
    found = contributions(model, asked)[1]
    assert (found - exact).abs().mean().max() < 0.1 * exact.abs().mean().max()


def test_a_column_that_the_model_does_not_use_is_no_reason(models: dict[str, SavedModel]) -> None:
    model = models[REGRESSION]
    line = LinearRegression().fit([[0.0], [1]], [0.0, 3])
    reads_size_alone = type(
        "Size", (), {"predict": lambda self, frame: line.predict(frame[["size"]].fillna(0).to_numpy())}
    )
    deaf = replace(model, estimator=reads_size_alone())
    assert {name for one in strongest(deaf, rows(REGRESSION, 30)) for name in one} == {"size"}


def test_the_three_strongest_come_largest_first(models: dict[str, SavedModel]) -> None:
    model, asked = models[REGRESSION], rows(REGRESSION, 30, seed=5)
    found = contributions(model, asked)[1]
    for (_, values), reasons in zip(found.iterrows(), strongest(model, asked), strict=True):
        largest = values.abs().sort_values(ascending=False).head(3)
        assert [abs(value) for value in reasons.values()] == pytest.approx(largest.tolist(), rel=1e-3)
        assert all(reasons[name] == pytest.approx(values[name], rel=1e-3) for name in reasons)


def test_every_background_row_is_turned_by_an_order_and_its_neighbour_by_the_reverse() -> None:
    order = turns(5, 4)
    assert [sorted(one) for one in order.tolist()] == [[0, 1, 2, 3]] * 5
    assert (order[0] + order[1] == 3).all()
    assert (order == turns(5, 4)).all()


def test_predictions_have_their_reasons_in_a_column_whoever_answers_and_in_whatever_chunks(
    passengers: pd.DataFrame, model_folder: object, tmp_path: object
) -> None:
    model = replace(open_model(model_folder), version="1")
    other = replace(open_model(save_model(tmp_path / "other", TITANIC, passengers.head(120), seed=5)), version="2")
    TITANIC.write(passengers, tmp_path / "in.csv")
    texts = []
    for chunk_rows in (200, 33):
        score_file(
            tmp_path / "in.csv",
            tmp_path / "out.csv",
            model,
            challenger=other,
            canary=0.4,
            reasons=True,
            chunk_rows=chunk_rows,
        )
        texts.append((tmp_path / "out.csv").read_text())
    assert texts[0] == texts[1]
    lines = list(csv.DictReader(texts[0].splitlines()))
    assert list(lines[0]) == ["PassengerId", "Survived", "probability", "model_version", "reasons"]
    answered = {"1": model, "2": other}
    for place in (0, 1, 2, 3, 50):
        expected = strongest(answered[lines[place]["model_version"]], passengers.iloc[[place]])[0]
        assert lines[place]["reasons"] == "; ".join(f"{name} {value:+g}" for name, value in expected.items())
        assert expected


def test_many_rows_are_explained_as_each_alone(models: dict[str, SavedModel]) -> None:
    model = models[REGRESSION]
    asked = rows(REGRESSION, AT_ONCE // (len(model.background) * (len(model.columns) + 1)) + 2)
    found = strongest(model, asked)
    assert len(found) == len(asked)
    for place in (0, len(asked) - 3, len(asked) - 1):
        assert found[place] == strongest(model, asked.iloc[[place]])[0]


def test_a_model_without_a_background_says_that_it_is_to_be_trained_again(models, tmp_path) -> None:
    folder = save_model(tmp_path / "old", table(REGRESSION), rows(REGRESSION, 60))
    (folder / BACKGROUND).unlink()
    with pytest.raises(StepError, match=r"has no background\.csv, which reasons need; train it again"):
        strongest(open_model(folder), rows(REGRESSION, 3))


def ask(client: Client, path: str, frame: pd.DataFrame) -> tuple[int, dict]:
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    client.connection.request(
        "POST", path, json.dumps({"dataframe_records": records}), {"Content-Type": "application/json"}
    )
    response = client.connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.parametrize("task", TASKS)
def test_the_server_gives_reasons_where_they_are_asked_for(models: dict[str, SavedModel], task: str) -> None:
    model, asked = models[task], rows(task, EXPLAINED + 5, seed=3)
    frame = asked[list(model.columns)].assign(returned=asked["returned"] == 1)
    with running(model, Settings(folder=str(model.folder), uri="", reload_seconds=0)) as port:
        client = Client(port)
        status, answered = ask(client, "/invocations?reasons=true", frame)
        assert status == 200
        assert [one.pop("reasons") for one in answered["predictions"]] == strongest(model, asked)
        assert ask(client, "/invocations", frame) == (200, answered)
        assert ask(client, "/invocations?reasons=perhaps", frame)[0] == 400
        schema = json.loads(client.get("/openapi.json")[1])
        assert [one["name"] for one in schema["paths"]["/invocations"]["post"]["parameters"]] == ["reasons"]


def test_a_server_whose_model_has_no_background_says_so(models: dict[str, SavedModel]) -> None:
    model = replace(models[REGRESSION], background=None)
    with running(model, Settings(folder=str(model.folder), uri="", reload_seconds=0)) as port:
        status, answered = ask(Client(port), "/invocations?reasons=true", rows(REGRESSION, 2)[list(model.columns)])
    assert status == 400
    assert "has no background.csv, which reasons need" in answered["message"]


def test_requests_for_reasons_and_without_are_answered_together(models: dict[str, SavedModel]) -> None:
    model, together = models[REGRESSION], Models(models[REGRESSION])
    cells = {"size": ["10", "20", "none of it"], "colour": ["red"] * 3, "returned": ["no"] * 3}
    plain, curious = Job(together, cells, 2), Job(together, cells, 2, reasons=True)
    wrong = Job(together, cells, 3, reasons=True)
    score([Part(plain, 0, 2), Part(wrong, 0, 3), Part(curious, 0, 2)])
    answers = [json.loads(one.answer.result().body)["predictions"] for one in (plain, curious)]
    assert [list(one) for one in answers[0]] == [["price"]] * 2
    asked = pd.DataFrame({"size": [10.0, 20.0], "colour": ["red"] * 2, "returned": [0.0, 0.0]})
    assert [one.pop("reasons") for one in answers[1]] == strongest(model, asked)
    assert answers[0] == answers[1]
    with pytest.raises(RequestError, match=r"row 3: size_not_a_number"):
        wrong.answer.result()


def test_a_server_asks_for_the_group_and_answers_as_the_batch_does(
    passengers: pd.DataFrame, model_folder: object
) -> None:
    ticket = passengers["Ticket"].dropna().iloc[0]
    mates = passengers[passengers["Ticket"] == ticket]
    known = Companions("PassengerId", "Ticket", 3.0, {ticket: {"900": 0.9, str(mates["PassengerId"].iloc[0]): 0.5}})
    model = replace(open_model(model_folder), companions=known)
    with running(model, Settings(folder=str(model.folder), uri="", reload_seconds=0)) as port:
        client = Client(port)
        status, answered = ask(client, "/invocations", mates[list(model.columns)])
        assert (status, "missing fields: PassengerId, Ticket" in answered["message"]) == (400, True)
        status, answered = ask(client, "/invocations", mates[list(model.wanted)])
    said = model.predict(mates)["probability"]
    assert [one["probability"] for one in answered["predictions"]] == said.tolist()
    assert (said != replace(model, companions=None).predict(mates)["probability"]).all()
