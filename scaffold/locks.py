"""Pin every environment anew, with the hashes of its packages' files: `python -m scaffold.locks`, or `make lock`.

The requirements.lock of the root and of each step come from the pins in the conda.yml beside it, requirements-X.lock
from requirements-X.in; all share their versions with the root's, but for kubeflow's, which wants others. The root's is
made with requirements-remote.in in mind: by itself it would have versions that boto3 cannot live with, and pip would
take a boto3 of ten years ago. A conda.yml has its lock's digest in it: MLflow goes by that text alone when it asks
whether a conda environment is the right one.

A package that a conda.yml marks with `# not the root's` has the version that stands there, whatever the root has.
Where a conda.yml says `-c requirements.lock`, the lock holds versions alone: of PyTorch each machine takes the build
that fits it, and no list of hashes has them all.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "requirements.lock"
# pip takes a requirement such as pandas[parquet] for pinned only where the lock has it with its extra.
COMPILE = ("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
           "--no-header", "--no-annotate", "--no-strip-extras")  # fmt: skip


def environments(root: Path) -> list[Path]:
    """The folders with an environment of their own, the root's first."""
    return [root, *sorted(path.parent for path in (*root.glob("*/conda.yml"), *root.glob("examples/*/*/conda.yml")))]


def declared(conda: str) -> list[str]:
    """The packages that the text of a conda.yml pins for pip."""
    return re.findall(r"^ *- ([A-Za-z]\S*==\S+)", conda, flags=re.MULTILINE)


def of_its_own(conda: str) -> list[str]:
    """The packages that the text of a conda.yml pins to other versions than the root's."""
    return re.findall(r"^ *- ([A-Za-z].*)==.* # not the root's", conda, flags=re.MULTILINE)


def but_for(exceptions: Iterable[str], lock: str) -> str:
    """The text of a lock without these packages."""
    for name in exceptions:
        lock = re.sub(rf"(?m)^{re.escape(name)}==(?:.*\\\n)*.*\n", "", lock)
    return lock


def locked(lock: str) -> set[str]:
    """The packages of a lock, each as `name==version`."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?(==[^ ;\\\n]+)", lock, flags=re.MULTILINE)
    return {"".join(pin) for pin in found}


def with_digest(conda: str, lock: str) -> str:
    """The text of a conda.yml with the digest of its lock."""
    digest = hashlib.sha256(lock.encode()).hexdigest()
    return re.sub(rf"(?m)^( *- -r {re.escape(LOCK)}).*$", rf"\g<1> # sha256:{digest}", conda)


def compile_lock(requirements: Iterable[str], lock: Path, *shared: Path, hashes: bool = True) -> None:
    """Write the lock of the requirements, with the versions of the `shared` ones.

    What it has already keeps its version where that still fits.
    """
    constraints = [f"--constraints={one}" for one in shared]
    command = [*COMPILE, *["--generate-hashes"] * hashes, *constraints, "-", "--output-file", str(lock)]
    subprocess.run(command, input="\n".join(requirements), text=True, check=True, cwd=lock.parent)


def main() -> int:
    try:
        remote = ROOT / "requirements-remote.lock"
        compile_lock([*declared((ROOT / "conda.yml").read_text(encoding="utf-8")), "-r requirements-remote.in"], remote)
        for folder in environments(ROOT):
            conda = (folder / "conda.yml").read_text(encoding="utf-8")
            hashes = f"- -c {LOCK}" not in conda
            versions = remote if folder == ROOT else ROOT / LOCK
            with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as constraints:
                constraints.write(but_for(of_its_own(conda), versions.read_text(encoding="utf-8")))
                constraints.flush()
                compile_lock(declared(conda), folder / LOCK, Path(constraints.name), hashes=hashes)
            lock = (folder / LOCK).read_text(encoding="utf-8")
            (folder / "conda.yml").write_text(with_digest(conda, lock), encoding="utf-8")
        shared = [remote]
        for name in ("dev", "pages", "audit", "spark"):
            further = ROOT / f"requirements-{name}.lock"
            compile_lock([f"-r requirements-{name}.in"], further, *shared)
            shared.append(further)
        compile_lock(["-r requirements-kubeflow.in"], ROOT / "requirements-kubeflow.lock")
    except subprocess.CalledProcessError as error:
        return int(error.returncode)  # uv has said why
    return 0


if __name__ == "__main__":
    sys.exit(main())
