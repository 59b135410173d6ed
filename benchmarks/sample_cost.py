"""What training on a sample costs: a generated list, the same rows to judge on, ever larger samples to learn from.

    python benchmarks/sample_cost.py [--rows 200000] [--samples 1000 10000 50000 0]

The list is made by data/make_sample.py, whose law is simpler than the world's: what a model can learn of it, it has
learnt sooner.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from results import ROOT, table

sys.path[:0] = [str(ROOT / "training"), str(ROOT / "data")]


def main() -> int:
    from declaration import read_declaration
    from estimators import Recipe, hyperparameters
    from make_sample import passengers
    from predictions import predict, score
    from threadpoolctl import threadpool_limits
    from training_data import read_rows, split

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--samples", type=int, nargs="+", default=[1_000, 10_000, 50_000, 0])
    arguments = parser.parse_args()
    declared, lines = read_declaration(ROOT / "dataset.yaml"), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.csv"
        passengers(arguments.rows).to_csv(path, index=False)
        parts = split(declared, read_rows(declared, path)[0], 0.2, 0, 10)
        declared.write(parts.train, path)
        for model in ("logistic_regression", "soft_vote"):
            for most in arguments.samples:
                rows, _ = read_rows(declared, path, most)
                recipe = Recipe(declared, model, hyperparameters(declared.task, model, {}), 0)
                start = time.process_time()
                with threadpool_limits(1):
                    said = predict(recipe.fit(rows), declared, parts.holdout[recipe.columns])
                cpu = time.process_time() - start
                found = score(declared, parts.holdout[declared.target.name], said)
                figures = [f"{found[name]:.4f}" for name in ("accuracy", "roc_auc", "log_loss")]
                lines.append([model, f"{len(rows):,}", *figures, f"{cpu:.1f}"])
    print(f"judged on {len(parts.holdout):,} rows\n")
    print(table(["model", "rows", "accuracy", "ROC AUC", "log loss", "processor s"], lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
