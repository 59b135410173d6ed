"""What MLflow loads for `--backend slurm`: the backend of the project that this folder belongs to."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

from pipeline.execution.slurm_backend import SlurmBackend

__all__ = ["SlurmBackend"]
