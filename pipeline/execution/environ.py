"""The environment variables of a step's process, on this machine or on another."""

import fnmatch
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.execution.read_tracer import FILE, IGNORED

HERE = Path(__file__).resolve().parent
SITE = HERE / "site"  # its sitecustomize.py starts the tracer in every Python that a step starts
# In the step's scratch folder:
READS_LOG = "reads.jsonl"
INPUTS = "inputs.json"
# The environment variables that every step gets, as far as they are set: what programs need to run at all, to reach the
# network, and to find the tracking store and the hardware. None of them counts for reuse; docs/running.md lists them.
PASSED_ON = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "TMPDIR", "TEMP", "TMP",
    "XDG_*", "*_PROXY", "*_proxy", "SSL_CERT_*", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "PYTHON*", "PIP_*", "UV_*", "CONDA_*", "MAMBA_*", "PYENV_*", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_*",
    "JAVA_HOME", "MLFLOW_*", "GIT_*", "SSH_AUTH_SOCK", "CUDA_*", "NVIDIA_*", "ROCR_*", "HIP_*", "*_NUM_THREADS",
    "OPENBLAS_*", "MKL_*", "KMP_*",
)  # fmt: skip
TEMPORARY = {"TMPDIR", "TEMP", "TMP"}  # where those folders are is each machine's own


def is_named(name: str, patterns: Iterable[str]) -> bool:
    """Whether an environment variable is one of these, which may hold `*`."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def handed_on(environ: Mapping[str, str], pass_env: Iterable[str]) -> dict[str, str]:
    """Those of the variables that a step gets: what every step needs, and what `pass_env` names."""
    wanted = [*PASSED_ON, *pass_env]
    return {name: value for name, value in environ.items() if is_named(name, wanted)}


def step_environ(environ: Mapping[str, str], scratch: Path, temporary: Path, ignored: Iterable[str]) -> dict[str, str]:
    """A step's variables, from those that were handed on and its own; makes its folder for outputs in `scratch`.

    So is the file in which it is told what is known of its inputs: nothing yet.

    `python` means this interpreter, output is unbuffered, and what Python reads is taken down, but for what is
    `ignored`.
    """
    (outputs := scratch / "outputs").mkdir()
    (inputs := scratch / INPUTS).write_text("{}", encoding="utf-8")
    return {
        **environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SITE), environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
        "STEP_OUTPUTS": str(outputs),
        "STEP_INPUTS": str(inputs),
        FILE: str(scratch / READS_LOG),
        IGNORED: os.pathsep.join([str(temporary), str(HERE.parent), *ignored]),
    }
