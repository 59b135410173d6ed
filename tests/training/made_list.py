"""A passenger list of the tests' own making, with something true to learn in it."""

import numpy as np
import pandas as pd


def make_list(rows: int = 400, seed: int = 0, noise: bool = False) -> pd.DataFrame:
    """Passengers with the columns of the real list; with `noise`, who survived has nothing to do with anything."""
    generator = np.random.default_rng(seed)
    female = generator.random(rows) < 0.4
    pclass = generator.choice([1, 2, 3], rows, p=[0.25, 0.2, 0.55])
    age = generator.normal(30, 14, rows).clip(1, 75).round()
    odds = 2.2 * female - 0.9 * (pclass - 2) + 1.2 * (age < 16) - 1.0
    chance = np.full(rows, 0.5) if noise else 1 / (1 + np.exp(-2.5 * odds))
    title = np.where(female, np.where(age < 25, "Miss", "Mrs"), np.where(age < 16, "Master", "Mr"))
    return pd.DataFrame(
        {
            "PassengerId": np.arange(1, rows + 1),
            "Survived": (generator.random(rows) < chance).astype(int),
            "Pclass": pclass,
            "Name": [f'Doe, {word}. "Number {i}"' for i, word in enumerate(title)],
            "Sex": np.where(female, "female", "male"),
            "Age": np.where(generator.random(rows) < 0.2, np.nan, age),
            "SibSp": generator.integers(0, 3, rows),
            "Parch": generator.integers(0, 3, rows),
            "Ticket": [f"A/{i // 2}" for i in range(rows)],
            "Fare": (90 / pclass**2 + generator.exponential(8, rows)).round(4),
            "Cabin": np.where(generator.random(rows) < 0.7, None, "C85"),
            "Embarked": generator.choice(["S", "C", "Q", None], rows, p=[0.7, 0.18, 0.11, 0.01]),
        }
    )
