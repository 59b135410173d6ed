"""Three tables that scikit-learn ships, written with the mess of real files: what a newcomer might bring."""

from pathlib import Path

import numpy as np
import pandas as pd

TARGETS = {"cancer": "diagnosis", "wine": "cultivar", "diabetes": "progression"}


def write(name: str, path: Path) -> Path:
    """cancer (two classes), wine (three) or diabetes (a number) as a CSV; the same bytes each time."""
    return {"cancer": cancer, "wine": wine, "diabetes": diabetes}[name](path)


def cancer(path: Path) -> Path:
    """Semicolons, decimal commas, a text key, `unknown` among numbers, free text, Windows line ends."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    generator = np.random.default_rng(1)
    frame = data.data.iloc[:, :12].round(5)
    frame.columns = [column.replace(" ", "_") for column in frame.columns]
    texts = frame.map(lambda value: f"{value:g}".replace(".", ","))
    for column in ("mean_texture", "mean_area"):
        texts.loc[generator.random(len(texts)) < 0.04, column] = "unknown"
    texts.insert(0, "patient_id", [f"P{number:04}" for number in range(len(texts))])
    words = np.array(["seen", "again", "in", "spring", "with", "her", "sister", "no", "pain"])
    texts["remarks"] = [" ".join(generator.choice(words, 7)) for _ in range(len(texts))]
    texts["diagnosis"] = data.target.map({0: "malignant", 1: "benign"})
    texts.to_csv(path, sep=";", index=False, lineterminator="\r\n")
    return path


def wine(path: Path) -> Path:
    """Tabs, a byte order mark, dates as day.month.year, a category of many values, capitals, gaps, no key."""
    from sklearn.datasets import load_wine

    data = load_wine(as_frame=True)
    generator = np.random.default_rng(2)
    frame = data.data.copy()
    frame.loc[generator.random(len(frame)) < 0.1, "malic_acid"] = np.nan
    frame["harvest"] = pd.to_datetime("1978-09-01") + pd.to_timedelta(generator.integers(0, 60, len(frame)), "D")
    frame["harvest"] = frame["harvest"].dt.strftime("%d.%m.%Y")
    frame["colour"] = np.where(data.data["color_intensity"] > 5, "Dark", "light")
    frame["grower"] = [f"estate {number}" for number in generator.integers(0, 60, len(frame))]
    frame["cultivar"] = data.target.map({0: "barolo", 1: "grignolino", 2: "barbera"})
    frame.to_csv(path, sep="\t", index=False, encoding="utf-8-sig")
    return path


def diabetes(path: Path) -> Path:
    """Commas, a column that gives the target away, a constant one, yes and no, units in names, a row cut short."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(as_frame=True, scaled=False)
    generator = np.random.default_rng(3)
    frame = data.data.rename(columns={"age": "age_years", "bp": "pressure (mmHg)"}).round(4)
    frame.insert(0, "no", range(1, len(frame) + 1))
    frame["sex"] = frame["sex"].map({1.0: "m", 2.0: "f"})
    frame["smoker"] = np.where(generator.random(len(frame)) < 0.3, "yes", "no")
    frame["clinic"] = "Nancy"
    frame["progression"] = data.target
    frame["next_visit_score"] = (data.target * 3.7 + 12).round(1)
    frame.to_csv(path, index=False)
    path.write_text(path.read_text() + "443,59.0,f\n")
    return path
