"""score.py MODEL PASSENGERS PREDICTIONS: who survives, and how probable that is."""

import sys

import pandas as pd


def score(model: object, passengers: str, target: str) -> None:
    rows = pd.read_csv(passengers)
    probability = model.predict_proba(rows)[:, 1]
    result = {
        "PassengerId": rows["PassengerId"],
        "prediction": (probability > 0.5).astype(int),
        "probability": probability,
    }
    pd.DataFrame(result).to_csv(target, index=False)


if __name__ == "__main__":
    import skops.io

    # Written a moment ago by train.py: whatever is in it is ours.
    trusted = skops.io.get_untrusted_types(file=sys.argv[1])
    score(skops.io.load(sys.argv[1], trusted=trusted), *sys.argv[2:])
