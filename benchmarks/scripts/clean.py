"""clean.py DATA CLEAN: text trimmed, numbers made numbers, each passenger once, none without an outcome."""

import sys

import pandas as pd

NUMBERS = ["PassengerId", "Survived", "Pclass", "Age", "SibSp", "Parch", "Fare"]


def clean(data: str, target: str) -> None:
    passengers = pd.read_csv(data)
    for column in passengers.columns.intersection(["Name", "Sex", "Ticket", "Cabin", "Embarked"]):
        passengers[column] = passengers[column].str.strip()
    passengers[NUMBERS] = passengers[NUMBERS].apply(pd.to_numeric, errors="coerce")
    passengers = passengers.dropna(subset=["PassengerId", "Survived", "Name", "Sex"])
    passengers.drop_duplicates("PassengerId").to_csv(target, index=False)


if __name__ == "__main__":
    clean(*sys.argv[1:])
