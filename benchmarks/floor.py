"""floor.py LIST FOLDER [SEED]: the whole work in one plain Python process, without tracking."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from clean import clean
from download import download
from score import score
from train import train


def main(source: str, folder: str, seed: str = "0") -> int:
    data, cleaned, predictions = (f"{folder}/{name}.csv" for name in ("data", "clean_data", "predictions"))
    download(source, data)
    clean(data, cleaned)
    model, accuracy, auc = train(cleaned, int(seed))
    score(model, source, predictions)
    print(f"accuracy {accuracy:.3f}, ROC AUC {auc:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
