import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sharing
from batch_scoring import in_canary, score_file
from companions import Companions
from declaration import parse_declaration
from predictions import predict, probability_columns
from saved_model import open_model
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import TITANIC, rows, save_model, table
from tests.spark_cluster import standalone

TASKS = (BINARY, MULTICLASS, REGRESSION)
REJECTED = {4: "Pclass_not_allowed", 6: "PassengerId_missing", 9: "Age_not_a_number; Sex_not_allowed", 10: "duplicate"}


@pytest.fixture(scope="module")
def model(model_folder):
    return replace(open_model(model_folder), version="3")


@pytest.fixture(scope="module")
def other(passengers, tmp_path_factory):
    folder = save_model(tmp_path_factory.mktemp("other") / "model", TITANIC, passengers.head(120), seed=5)
    return replace(open_model(folder), version="4")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """For each task two models of its table of orders."""
    folder = tmp_path_factory.mktemp("models")
    return {
        task: [open_model(save_model(folder / f"{task}{seed}", table(task), rows(task), seed)) for seed in (0, 1)]
        for task in TASKS
    }


@pytest.fixture
def score(model, tmp_path):
    """Score a frame, and rows that were rejected from among it (place -> reason); the predictions as lists of text."""

    def run(frame: pd.DataFrame, rejected=None, by=model, **options):
        by.table.write(frame, tmp_path / "in.csv")
        if rejected is not None:
            options["rejected"] = tmp_path / "rejected.csv"
            write_rejected(options["rejected"], by.table, rejected)
        run.totals = score_file(tmp_path / "in.csv", tmp_path / "out.csv", by, **options)
        run.text = (tmp_path / "out.csv").read_text()
        return list(csv.reader(run.text.splitlines(keepends=True)))

    return run


def write_rejected(path, of, rejected):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [one.name for one in of.fields if one.name != "row"]  # a number of data_cleaning's making
        writer.writerow(["row", "line", "reason", *names])
        for row, reason in rejected.items():
            cells = {of.key.name: f" key {row} "}
            writer.writerow([row, row + 1, reason, *(cells.get(name, 'x\n"y"') for name in names)])


def test_predictions_are_the_models_own_in_the_order_of_the_rows(score, model, passengers):
    shuffled = passengers.sample(frac=1, random_state=1)
    header, *lines = score(shuffled)
    assert header == ["PassengerId", "Survived", "probability"]
    assert [int(line[0]) for line in lines] == shuffled["PassengerId"].tolist()
    features = shuffled[list(model.columns)]
    assert [int(line[1]) for line in lines] == model.estimator.predict(features).tolist()
    expected = model.estimator.predict_proba(features)[:, 1]
    np.testing.assert_allclose([float(line[2]) for line in lines], expected, atol=1e-10)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_own_columns_and_metrics(score, models, task):
    model, of = models[task][0], table(task)
    frame = rows(task, 50, seed=3)
    header, *lines = score(frame, by=model)
    said = model.predict(frame)
    assert header == ["order", of.target.name, *probability_columns(of)]
    assert [line[0] for line in lines] == frame["order"].tolist()
    metrics = score.totals.metrics(shadow=False, canary=False)
    if task == REGRESSION:
        assert [float(line[1]) for line in lines] == said["price"].tolist()
        assert metrics["mean_prediction"] == pytest.approx(said["price"].mean())
    else:
        assert [line[1] for line in lines] == said[of.target.name].map(of.class_text).tolist()
        shares = {of.class_text(one): (said[of.target.name] == one).mean() for one in of.classes}
        assert {name: metrics[f"predicted_share_{name}"] for name in shares} == pytest.approx(shares)
    assert ("mean_probability" in metrics) == (task == BINARY)


def test_the_titanics_metrics_speak_its_language(score, passengers):
    lines = score(passengers)[1:]
    metrics = score.totals.metrics(shadow=False, canary=False)
    assert metrics["predicted_share_survived"] == sum(line[1] == "1" for line in lines) / 200
    assert metrics["predicted_share_died"] == 1 - metrics["predicted_share_survived"]
    assert metrics["mean_probability"] == pytest.approx(sum(float(line[2]) for line in lines) / 200)


def test_known_outcomes_and_further_columns_change_nothing(score, model, passengers, tmp_path):
    score(passengers.drop(columns="Survived"))
    alone = score.text
    score(passengers)
    assert score.text == alone
    frame = pd.read_csv(tmp_path / "in.csv", dtype=str, keep_default_na=False)
    frame.assign(deck="A").to_csv(tmp_path / "more.csv", index=False)
    score_file(tmp_path / "more.csv", tmp_path / "more_out.csv", model)
    assert (tmp_path / "more_out.csv").read_text() == alone


def test_rejected_rows_keep_their_place_and_say_why(score, passengers):
    header, *lines = score(passengers.head(20), REJECTED | {23: "ragged", 24: "Age_out_of_range"})
    assert header == ["PassengerId", "Survived", "probability", "error"]
    assert len(lines) == 26
    assert {place: line[3] for place, line in enumerate(lines, 1) if line[3]} == REJECTED | {
        23: "ragged",
        24: "Age_out_of_range",
    }
    assert lines[3] == ["key 4", "", "", "Pclass_not_allowed"]
    scored = [line for line in lines if not line[3]]
    assert [line[:3] for line in scored] == score(passengers.head(20))[1:]


def test_errors_are_counted_by_reason_and_a_mere_duplicate_is_no_fault(score, passengers):
    score(passengers.head(16), REJECTED)
    metrics = score.totals.metrics(shadow=False, canary=False)
    assert (metrics["rows"], metrics["scored"], metrics["errors"]) == (20, 16, 4)
    assert {name: count for name, count in metrics.items() if name.startswith("errors_")} == {
        "errors_Age_not_a_number": 1,
        "errors_PassengerId_missing": 1,
        "errors_Pclass_not_allowed": 1,
        "errors_Sex_not_allowed": 1,
        "errors_duplicate": 1,
    }
    assert score.totals.error_share == 3 / 20


def test_a_list_of_no_rejected_rows_adds_no_column(score, passengers):
    assert score(passengers, {})[0] == ["PassengerId", "Survived", "probability"]


def test_a_table_without_a_key_names_rejected_rows_by_their_number(score, tmp_path):
    content = table(BINARY).content
    fields = [field for field in content["fields"] if field["name"] != "order"]
    of = parse_declaration({"name": "keyless", "fields": fields}, "keyless.yaml")
    frame = rows(BINARY, 60).drop(columns="order")
    frame.insert(0, "row", [number for number in range(1, 63) if number not in (2, 62)])
    model = open_model(save_model(tmp_path / "keyless", of, frame))
    header, *lines = score(frame, {2: "size_missing", 62: "colour_missing"}, by=model)
    assert header == ["row", "paid", "probability", "error"]
    assert [line[0] for line in lines] == [str(number) for number in range(1, 63)]
    assert [line[0] for line in lines if line[3]] == ["2", "62"]


@pytest.mark.parametrize(
    ("rejected", "said"),
    [
        ({5: "ragged", 30: "ragged"}, "row 22 is neither in it nor rejected"),
        ({5: "ragged", 3: "ragged"}, "row 3 is there twice"),
    ],
)
def test_a_list_of_rejected_rows_that_is_of_another_table_is_refused(score, passengers, rejected, said):
    with pytest.raises(StepError, match=said):
        score(passengers.head(20), rejected)


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"row,line,reason,Age\n", b"row,line,reason,PassengerId\nx,1,r,1\n"]
)
def test_what_is_no_list_of_rejected_rows_is_refused(model, passengers_csv, tmp_path, content):
    (tmp_path / "other.csv").write_bytes(content)
    with pytest.raises(StepError, match=r"other\.csv is not data_cleaning's list of rejected rows"):
        score_file(passengers_csv, tmp_path / "out.csv", model, rejected=tmp_path / "other.csv")


@pytest.mark.parametrize("chunk_rows", [1, 2, 7, 199, 200, 1000])
def test_the_file_does_not_depend_on_the_chunks_it_is_scored_in(score, passengers, chunk_rows):
    score(passengers, REJECTED, model_version_column=True)
    whole = score.text
    score(passengers, REJECTED, model_version_column=True, chunk_rows=chunk_rows)
    assert score.text == whole


def test_the_whole_file_is_scored_as_each_row_alone(score, passengers):
    for place, expected in enumerate(score(passengers.head(40))[1:]):
        assert score(passengers.iloc[[place]])[1] == expected


def test_no_passengers_no_predictions(score, passengers):
    assert score(passengers.head(0)) == [["PassengerId", "Survived", "probability"]]
    assert score.totals.metrics(shadow=True, canary=True)["rows"] == 0


def test_a_file_of_bad_rows_only_is_reported_whole(score, passengers):
    lines = score(passengers.head(0), dict.fromkeys(range(1, 51), "Pclass_not_allowed"))[1:]
    assert len(lines) == 50
    assert score.totals.metrics(shadow=True, canary=True)["scored"] == 0
    assert score.totals.error_share == 1


@pytest.mark.parametrize(
    ("column", "cell"), [("Pclass", "first"), ("Sex", "Male"), ("Age", "22,5"), ("SibSp", "1.5"), ("PassengerId", "")]
)
def test_a_list_that_is_not_clean_is_refused_with_what_to_do(model, passengers_csv, tmp_path, column, cell):
    frame = pd.read_csv(passengers_csv, dtype=str)
    frame.loc[7, column] = cell
    frame.to_csv(passengers_csv, index=False)
    with pytest.raises(StepError, match="run data_cleaning on it first, and give its"):
        score_file(passengers_csv, tmp_path / "out.csv", model)


def test_a_share_is_routed_to_the_challenger_and_each_row_says_who_answered(score, model, other, passengers):
    header, *lines = score(passengers, challenger=other, canary=0.3)
    assert header == ["PassengerId", "Survived", "probability", "model_version"]
    by = {"3": model.predict(passengers), "4": other.predict(passengers)}
    assert {line[3] for line in lines} == {"3", "4"}
    assert all(float(line[2]) == by[line[3]]["probability"][place] for place, line in enumerate(lines))
    assert score.totals.canary_rows == sum(line[3] == "4" for line in lines)


def test_a_rejected_row_was_answered_by_nobody(score, other, passengers):
    lines = score(passengers, REJECTED, challenger=other, canary=0.3)[1:]
    assert [line[3:] for line in lines if line[4]] == [["", reason] for reason in REJECTED.values()]


@pytest.mark.parametrize("keys", [pd.Series(range(20_000)), pd.Series([f"order {n}" for n in range(20_000)])])
def test_the_canary_takes_its_share_the_same_rows_every_time_and_more_on_top(keys):
    some, more = in_canary(keys, 0.1), in_canary(keys, 0.2)
    assert abs(some.mean() - 0.1) < 0.01
    assert (more >= some).all()
    assert not in_canary(keys, 0).any()
    assert in_canary(keys, 1).all()
    shuffled = keys.sample(frac=1, random_state=0)
    assert (in_canary(shuffled, 0.1) == some[shuffled.index]).all()


def test_who_is_in_the_canary_stays_so_from_one_release_of_this_program_to_the_next():
    assert np.flatnonzero(in_canary(pd.Series(range(100)), 0.05)).tolist() == [19, 72, 82, 84, 91]


def test_a_canary_of_everyone_is_the_challengers_own_file(score, other, passengers):
    lines = score(passengers, challenger=other, canary=1)[1:]
    assert {line[3] for line in lines} == {"4"}


def test_the_shadow_is_compared_and_changes_no_answer(score, other, passengers, tmp_path):
    score(passengers, REJECTED)
    alone = score.text
    score(passengers, REJECTED, shadow=other, differences=tmp_path / "differences.csv", chunk_rows=30)
    assert score.text == alone
    differences = pd.read_csv(tmp_path / "differences.csv")
    metrics = score.totals.metrics(shadow=True, canary=False)
    assert list(differences) == ["PassengerId", "Survived", "probability", "shadow_Survived", "shadow_probability"]
    assert metrics["shadow_differences"] == len(differences) > 0
    assert metrics["shadow_agreement"] == pytest.approx(1 - len(differences) / 200)
    assert (differences["Survived"] != differences["shadow_Survived"]).all()
    assert metrics["shadow_max_absolute_difference"] >= metrics["shadow_mean_absolute_difference"] > 0


@pytest.mark.parametrize("task", TASKS)
def test_a_shadow_of_every_task_is_as_far_away_as_its_own_predictions(score, models, task, tmp_path):
    model, shadow = models[task]
    frame = rows(task, 80, seed=4)
    score(frame, by=model, shadow=shadow, differences=tmp_path / "differences.csv", chunk_rows=33)
    metrics = score.totals.metrics(shadow=True, canary=False)
    ours, theirs = model.predict(frame), shadow.predict(frame)
    numbers = list(probability_columns(table(task))) or ["price"]
    distance = (ours[numbers] - theirs[numbers]).abs().max(axis=1)
    assert metrics["shadow_mean_absolute_difference"] == pytest.approx(distance.mean())
    assert metrics["shadow_max_absolute_difference"] == pytest.approx(distance.max())
    assert ("shadow_agreement" in metrics) == (task != REGRESSION)


def test_a_model_of_something_else_is_neither_shadow_nor_challenger(score, models, model, passengers):
    with pytest.raises(StepError, match=r"shadow model unregistered predicts price \(regression\), but model"):
        score(rows(BINARY), by=models[BINARY][0], shadow=models[REGRESSION][0])
    with pytest.raises(StepError, match=r"challenger model unregistered predicts paid \(binary\), but"):
        score(passengers, challenger=models[BINARY][0], canary=0.5)


def test_a_shadow_that_reads_what_the_input_does_not_have_is_refused(score, models, tmp_path):
    model = models[BINARY][0]
    content = table(BINARY).content
    fields = [field | {"name": "weight"} if field["name"] == "size" else field for field in content["fields"]]
    of = parse_declaration(content | {"fields": fields}, "orders.yaml")
    shadow = open_model(save_model(tmp_path / "shadow", of, rows(BINARY).rename(columns={"size": "weight"})))
    with pytest.raises(
        StepError, match=r"reads weight \(number\), where the table of model .* has nothing of that name"
    ):
        score(rows(BINARY), by=model, shadow=shadow)


def test_companions_are_looked_up_by_the_group_of_the_file_and_are_no_condition(score, model, passengers):
    ticket = passengers["Ticket"].dropna().iloc[0]
    known = Companions("PassengerId", "Ticket", 3.0, {ticket: {"900": 0.9}})
    alone, lines = score(passengers), score(passengers, by=replace(model, companions=known))
    changed = [line[0] for line, other in zip(alone, lines, strict=True) if line != other]
    assert changed == passengers.loc[passengers["Ticket"] == ticket, "PassengerId"].map(str).tolist()
    assert score(passengers.drop(columns="Ticket"), by=replace(model, companions=known)) == alone


def test_a_model_with_a_threshold_of_its_own_keeps_it(model, passengers):
    from sklearn.model_selection import FixedThresholdClassifier

    features = passengers[list(model.columns)]
    strict = FixedThresholdClassifier(model.estimator, threshold=0.9, response_method="predict_proba")
    strict.fit(features, passengers["Survived"])
    said = predict(strict, TITANIC, features)
    assert (said["Survived"] == strict.predict(features)).all()
    assert ((said["probability"] > 0.5) != said["Survived"]).any()


def test_a_formula_in_a_key_stays_quoted_text(score, models):
    frame = rows(BINARY, 2)
    frame.loc[1, "order"] = '=cmd|"x",\n1'
    assert score(frame, by=models[BINARY][0])[2][0] == '=cmd|"x",\n1'


def test_a_columns_name_may_be_anything_and_its_metric_is_one_that_mlflow_takes(score, passengers):
    from mlflow.utils.validation import _validate_metric_name

    score(passengers, {1: "Größe (in m²/Person), ganz_out_of_range"})
    names = score.totals.metrics(shadow=False, canary=False)
    for name in names:
        _validate_metric_name(name)
    assert "errors_Größe__in_m²_Person___ganz_out_of_range" in names


@pytest.fixture
def in_parts(model, other, passengers, tmp_path, monkeypatch):
    """Score a list of 1,000 in parts of 4,000 bytes, with a canary, a shadow and rejected rows; all outputs."""
    monkeypatch.setattr(sharing, "RANGE_BYTES", 4_000)
    frame = pd.concat([passengers] * 5, ignore_index=True)
    frame["PassengerId"] = np.arange(1, len(frame) + 1)
    model.table.write(frame, tmp_path / "in.csv")
    write_rejected(tmp_path / "rejected.csv", model.table, REJECTED | {500: "ragged", 1005: "Age_out_of_range"})

    def run(**who):
        out, differences = tmp_path / "out.csv", tmp_path / "differences.csv"
        options = {
            "sharing": sharing.Sharing(**who),
            "rejected": tmp_path / "rejected.csv",
            "challenger": other,
            "canary": 0.3,
            "shadow": other,
        }
        totals = score_file(tmp_path / "in.csv", out, model, differences=differences, **options)
        return out.read_bytes(), differences.read_bytes(), totals.metrics(shadow=True, canary=True)

    return run


def test_a_list_that_is_scored_in_parts_is_scored_as_a_whole(in_parts, monkeypatch):
    parts = in_parts()
    monkeypatch.setattr(sharing, "RANGE_BYTES", 1 << 20)
    whole = in_parts()
    assert parts[:2] == whole[:2]
    assert parts[2] == pytest.approx(whole[2])
    assert whole[0].count(b"\n") == 1007


@pytest.mark.integration
def test_any_number_of_workers_scores_alike(in_parts):
    assert in_parts(workers=2) == in_parts() == in_parts(workers=3)


@pytest.mark.integration
def test_a_spark_cluster_scores_alike(in_parts, tmp_path):
    alone = in_parts()
    with standalone(tmp_path) as master:
        assert in_parts(engine="spark", master=master) == alone


@pytest.mark.integration
def test_workers_count_rows_from_the_beginning_of_the_file(in_parts, tmp_path):
    header, *lines = (tmp_path / "in.csv").read_text().splitlines(keepends=True)
    lines[700] = lines[700].replace("female", "male").replace("male", "neither")
    (tmp_path / "in.csv").write_text("".join([header, *lines]))
    said = []
    for workers in (1, 2):
        with pytest.raises(StepError, match="'neither' in row 701") as raised:
            in_parts(workers=workers)
        said.append(str(raised.value))
    assert said[0] == said[1]


def test_a_list_without_rows_has_none_and_one_without_a_column_is_refused(score, passengers, tmp_path, model):
    assert score(passengers.head(0)) == [["PassengerId", "Survived", "probability"]]
    (tmp_path / "in.csv").write_text("PassengerId,Age\n")
    with pytest.raises(StepError, match="has no column"):
        score_file(tmp_path / "in.csv", tmp_path / "out.csv", model)
