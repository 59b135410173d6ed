"""Tab completes `python main.py …`: asked by words, and typed into a real bash and a real zsh."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scaffold.completion import candidates, main
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("words", "wanted", "unwanted"),
    [
        ([""], {"status", "steps=", "training.", "--help"}, {"pipeline=", "groups="}),
        (["steps=training", "s"], {"steps=", "scoring_data."}, {"status"}),  # a command stands first, or nowhere
        (["training.mo"], {"training.model="}, {"training.seed="}),
        (["retraining.see"], {"retraining.seed="}, set()),  # extends training
        (["steps=tr"], {"steps=training"}, {"steps=evaluation"}),
        (["steps=training,ev"], {"steps=training,evaluation"}, {"steps=evaluation"}),
        (["steps="], {"steps=all", "steps=retrain"}, set()),
        (["from=inf"], {"from=inference"}, {"from=all"}),
        (["dry_run="], {"dry_run=true", "dry_run=false"}, set()),
        (["training.plots="], {"training.plots=true", "training.plots=false"}, set()),
        (["env_manager=u"], {"env_manager=uv"}, set()),
        (["graph", ""], {"mermaid"}, {"steps="}),
        (["--help", "eval"], {"evaluation"}, {"evaluation."}),
    ],
)
def test_what_may_come_next(words, wanted, unwanted):
    found = list(candidates(ROOT, words))
    assert wanted <= set(found) and not unwanted & set(found)
    assert all(one.startswith(words[-1]) for one in found)


def test_nothing_is_said_of_what_is_no_step_or_of_a_broken_configuration(tmp_path: Path, capsys):
    assert list(candidates(ROOT, ["trainning.mo"])) == []
    (tmp_path / "config.yaml").write_text("pipeline: [")
    assert main(["--config-dir", str(tmp_path), "steps="]) == 0
    assert capsys.readouterr() == ("", "")


def test_another_pipeline_has_words_of_its_own(tmp_path: Path, capsys):
    (tmp_path / "config.yaml").write_text("pipeline: {brewing: {}}")
    main(["--config-dir", str(tmp_path), "steps=br"])
    assert capsys.readouterr().out == "steps=brewing\n"


TYPED = {
    "main.py trai": "main.py training.",
    "main.py training.mod": "main.py training.model=",
    "main.py steps=data_download,tr": "main.py steps=data_download,training",
    "main.py graph m": "main.py graph mermaid",
    "main.py data_url=data/titanic_s": "main.py data_url=data/titanic_sample.csv",  # a file's name
    "scaffold/__in": "scaffold/__init__.py",  # other programs are left alone
}


@pytest.mark.integration
@pytest.mark.parametrize("shell", ["bash --noprofile --norc -i", "zsh -f -i"], ids=["bash", "zsh"])
def test_tab_completes_in_a_real_shell(shell, tmp_path):
    program = shell.split()[0]
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    environ = {"HOME": str(tmp_path), "TERM": "dumb", "PS1": "$ ", "LC_ALL": "C.UTF-8"}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        shell.split(), cwd=ROOT, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    try:
        os.write(ours, b"source scaffold/completion.sh\necho is-$((6*7))\n")
        assert "is-42" in shown(ours, "is-42")
        for typed, completed in TYPED.items():
            os.write(ours, f"python {typed}\t".encode())
            assert f"python {completed}" in shown(ours, f"python {completed}")
            os.write(ours, b"\x15")  # Ctrl-U takes the line away
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def shown(terminal: int, until: str) -> str:
    """What a terminal shows, until a text is seen or a minute is over."""
    screen, end = "", time.monotonic() + 60
    while until not in screen and time.monotonic() < end:
        if select.select([terminal], [], [], 0.5)[0]:
            screen += os.read(terminal, 4096).decode(errors="replace").replace("\a", "")
    print(screen)
    return screen
