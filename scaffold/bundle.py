"""All that `make run` and `make test` need, in one archive for a machine without a network: `make bundle`.

    python -m scaffold.bundle make          build/mlflow-pipeline-PLATFORM-pyVERSION.tar, from the locks and Git
    python -m scaffold.bundle open FILE     into build/bundle, every file compared with SHA256SUMS; prints that folder

Wheels are for one platform and one version of Python, which are in the archive's name; Python itself is not in it.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from pipeline.errors import RequestError

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
SUMS = "SHA256SUMS"
BOOTSTRAP = ("pip", "setuptools", "wheel")  # what an environment needs before anything can be installed into it


def platform() -> str:
    """What the wheels are for, as in a file's name."""
    return f"{sysconfig.get_platform()}-py{sys.version_info.major}.{sys.version_info.minor}"


def make() -> Path:
    """Collect wheels of every lock, and the sources as they are committed; the archive's path.

    Raises:
        RequestError: a wheel cannot be had, or this is no Git work tree.
    """
    folder = BUILD / f"mlflow-pipeline-{platform()}"
    shutil.rmtree(folder, ignore_errors=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    locks = [*sorted(ROOT.glob("*.lock")), *sorted(ROOT.glob("*/requirements.lock"))]
    for lock in (lock for lock in locks if lock.name.startswith("requirements")):
        print(f"wheels of {lock.relative_to(ROOT)}", flush=True)
        download(["-r", str(lock)], wheels)
    download(list(BOOTSTRAP), wheels)
    sources = folder / "sources.tar"
    run(["git", "-C", str(ROOT), "archive", "--format=tar", f"--output={sources}", "HEAD"])
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    (folder / SUMS).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names))
    archive = folder.with_name(f"{folder.name}.tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname=".")
    shutil.rmtree(folder)
    return archive


def download(requirements: list[str], wheels: Path) -> None:
    """Put the files into the folder as they are served, sources where there is no wheel: as the locks have them."""
    run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--dest", str(wheels), *requirements])  # fmt: skip


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it did not say why"])[-1]
        raise RequestError(f"the bundle was not made: {' '.join(command[:4])} … failed ({last})")


def unpack(archive: Path) -> Path:
    """Unpack and verify; the folder.

    Raises:
        RequestError: it is no such archive, for another platform, or not whole.
    """
    folder = BUILD / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        lines = [line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines()]
        sums = {name: digest for digest, name in lines}
    except (OSError, tarfile.TarError, ValueError) as error:
        raise RequestError(f"{archive} cannot be opened ({error}); give the file that make bundle made") from None
    if platform() not in archive.name:
        raise RequestError(f"{archive.name} is not for {platform()}; make one on a machine like this one")
    for name, expected in sums.items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            raise RequestError(f"{name} in {archive.name} is not as it was made; copy the archive again")
    return folder


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["open"] and len(arguments) == 2:
            print(unpack(Path(arguments[1])))
        else:
            archive = make()
            print(f"{archive} ({archive.stat().st_size / 1e6:.0f} MB)")
    except RequestError as error:
        print("\n".join(f"error: {problem}" for problem in error.problems), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
