"""Modules that run when something of them is asked for, held against what an import of them gives."""

import builtins
import importlib
import runpy
import subprocess
import sys
import threading
from textwrap import dedent

import pytest

from pipeline.execution.lazy_modules import lazily_loaded

LAZY = "lazy_for_this_test"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package, and a module in it, that say when they run."""
    folder = tmp_path / LAZY
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "import builtins\nbuiltins.ran.append(__name__)\n__all__ = ['number']\nnumber = 7\n"
    )
    (folder / "part.py").write_text("import builtins\nbuiltins.ran.append(__name__)\nword = 'seven'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("builtins.ran", [], raising=False)
    yield folder
    for name in (LAZY, f"{LAZY}.part"):
        sys.modules.pop(name, None)


def ran():
    """The names of what has run, in this order."""
    return builtins.ran


def test_a_package_runs_when_something_of_it_is_asked_for_and_not_before(package):
    with lazily_loaded(LAZY):
        module = importlib.import_module(LAZY)
    part = importlib.import_module(f"{LAZY}.part")
    assert ran() == [f"{LAZY}.part"], "what lies in it can be imported without it"
    assert part.word == "seven"
    assert module.number == 7
    assert ran() == [f"{LAZY}.part", LAZY]
    with pytest.raises(AttributeError, match=f"module '{LAZY}' has no attribute 'other'"):
        _ = module.other
    assert ran() == [f"{LAZY}.part", LAZY], "once"


def test_from_a_lazy_package_everything_can_be_taken(package):
    with lazily_loaded(LAZY):
        importlib.import_module(LAZY)
    script = package / "takes.py"
    script.write_text(f"from {LAZY} import *\nfrom {LAZY} import part\n")
    names = runpy.run_path(str(script))
    assert names["number"] == 7
    assert names["part"].word == "seven"


def test_what_was_imported_before_and_what_is_imported_after_is_as_ever(package):
    with lazily_loaded(LAZY):
        pass
    importlib.import_module(LAZY)
    assert ran() == [LAZY]
    with lazily_loaded(LAZY):
        importlib.import_module(LAZY)
    assert ran() == [LAZY]
    with lazily_loaded(f"{LAZY}.nowhere"), pytest.raises(ModuleNotFoundError, match="nowhere"):
        importlib.import_module(f"{LAZY}.nowhere")


def test_a_package_that_fails_fails_for_everybody_who_asks(package):
    (package / "__init__.py").write_text("import nothing_of_this_name\n")
    with lazily_loaded(LAZY):
        module = importlib.import_module(LAZY)
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
            _ = module.number


def test_a_package_with_a_getattr_of_its_own_keeps_it(package):
    (package / "__init__.py").write_text("def __getattr__(name):\n    return name.upper()\n")
    with lazily_loaded(LAZY):
        module = importlib.import_module(LAZY)
    assert (module.number, module.word) == ("NUMBER", "WORD")


def test_threads_that_ask_at_once_get_all_of_it_and_it_runs_once(package):
    (package / "__init__.py").write_text("import builtins, time\nbuiltins.ran.append(1)\ntime.sleep(0.1)\nnumber = 7\n")
    with lazily_loaded(LAZY):
        module = importlib.import_module(LAZY)
    found = []
    threads = [threading.Thread(target=lambda: found.append(module.number)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found, ran()) == ([7] * 8, [1])


def test_what_mlflow_has_lazily_here_is_what_it_has_elsewhere():
    """In a fresh interpreter: nothing of it runs for a step, and all of it is there for who asks."""
    said = subprocess.run(
        [sys.executable, "-c", dedent(CODE)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said == ["FastAPI: False", "gateway: True", "f2py: True", "mako: True"]


CODE = """
    import sys
    from pipeline.execution.launcher import Launcher
    Launcher().import_base_modules()
    import mlflow, numpy, mlflow.tracking
    print("FastAPI:", "fastapi" in sys.modules)
    import mlflow.gateway.config
    from mlflow.gateway import get_gateway_uri
    from mlflow.gateway.utils import get_gateway_uri as as_elsewhere
    print("gateway:", get_gateway_uri is as_elsewhere is mlflow.gateway.get_gateway_uri)
    print("f2py:", callable(numpy.f2py.run_main))
    from mako.template import Template
    try:
        Template("${")
    except Exception as error:
        import mako.exceptions
        print("mako:", isinstance(error, mako.exceptions.SyntaxException))
"""
