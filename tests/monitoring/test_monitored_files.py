import pandas as pd
import pytest
from monitored_files import MonitoringError, as_typed, live_metrics, read_list


@pytest.fixture
def file(tmp_path):
    def write(content: bytes | str):
        path = tmp_path / "in.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not a CSV file that can be read (No columns to parse from file)"),
        ("a,b\n", "has no rows"),
        ("a,c\n1,2\n", "has no column b (it has: a, c)"),
        ("a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        (b"a,b\n1,\xe9\n", "is not a CSV file that can be read"),
    ],
)
def test_a_file_that_cannot_be_compared_is_refused_in_one_sentence(file, content, said):
    with pytest.raises(MonitoringError) as caught:
        read_list(file(content), ["a", "b"], 1000)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_a_long_file_evenly_spaced_rows_are_taken(file):
    frame, rows = read_list(file("a\n" + "".join(f"{i}\n" for i in range(120_000))), ["a"], 1000)
    assert rows == 120_000
    assert 900 <= len(frame) <= 1000
    assert pd.to_numeric(frame["a"]).diff().dropna().nunique() == 1


def test_what_is_no_number_where_the_reference_has_numbers_is_missing():
    before, after = as_typed(
        pd.DataFrame({"Age": ["1", "2.5", None], "Sex": [" male", "female", None]}),
        pd.DataFrame({"Age": ["old", "3", "inf"], "Sex": ["male ", "x", None], "Other": ["1", "2", "3"]}),
    )
    assert before["Age"].tolist()[:2] == [1, 2.5]
    assert after["Age"].isna().tolist() == [True, False, True]
    assert after["Sex"].tolist()[:2] == ["male", "x"]
    assert "Other" not in after


def frame(**columns):
    return pd.DataFrame(
        {name: [None if value is None else str(value) for value in values] for name, values in columns.items()}
    )


PREDICTIONS = frame(PassengerId=[1, 2, 3, 4], Survived=[1, 0, None, 1], probability=[0.9, 0.2, None, 0.6])


def test_live_metrics_are_over_those_with_prediction_and_label():
    found = live_metrics(PREDICTIONS, frame(PassengerId=[4, 2, 1, 3, 9], Survived=[0, 0, 1, 1, 1]))
    assert found["live_rows"] == 3
    assert found["live_accuracy"] == pytest.approx(2 / 3)
    assert found["live_roc_auc"] == 1
    assert found["live_brier"] == pytest.approx((0.01 + 0.04 + 0.36) / 3)


def test_no_one_with_both_is_no_error():
    assert live_metrics(PREDICTIONS, frame(PassengerId=[9], Survived=[1])) == {"live_rows": 0}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (frame(PassengerId=[1], Survived=["yes"]), "other than 0 and 1: yes"),
        (frame(PassengerId=[1, 1], Survived=[0, 1]), "PassengerId 1 more than once"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, said):
    with pytest.raises(MonitoringError, match=said):
        live_metrics(PREDICTIONS, labels)
