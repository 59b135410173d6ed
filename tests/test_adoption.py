"""What a project needs to be adopted holds together: workflows, hooks and links name what there is."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
MORE_THAN_READING = {  # workflow -> job -> what it may
    "release.yml": {"release": {"contents": "write"}},
    "pull-request.yml": {"report": {"contents": "read", "pull-requests": "write"}},
    "retrain.yml": {"retrain": {"contents": "write", "pull-requests": "write"}},
}
PAGES = [
    ROOT / name for name in ("README.md", "README.it.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
] + sorted((ROOT / "docs").rglob("*.md"))


def steps(workflow: Path) -> list[dict]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_do_nothing_but_call_targets_of_the_makefile(workflow):
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    assert targets_of(commands) <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def test_gitlab_calls_targets_of_the_makefile_and_nothing_else():
    jobs = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    scripts = [job["script"] for job in jobs.values() if isinstance(job, dict) and "script" in job]
    commands = [command for script in scripts for command in script]
    assert targets_of(commands) >= {"lint", "test", "ci-report", "retrain", "deploy"}
    assert targets_of(commands) <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def targets_of(commands: list[str]) -> set[str]:
    """What `NAME=value make TARGET NAME=value` calls; anything else is a failure."""
    call = r'(?:\w+="?\$?\w+"? )*make ([\w-]+)(?: \w+="?\$?\w+"?)*'
    return {re.fullmatch(call, command)[1] for command in commands}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_may_only_read_but_where_more_is_said(workflow):
    text = workflow.read_text()
    used = re.findall(r"\buses:\s*(.*)", text)
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used), used
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    content = yaml.safe_load(text)
    assert content["permissions"] == {"contents": "read"}
    given = {name: job["permissions"] for name, job in content["jobs"].items() if "permissions" in job}
    assert given == MORE_THAN_READING.get(workflow.name, {})


def test_hooks_run_what_make_lint_runs():
    """The same commands in the same order, the files aside: a hook gets those that are committed."""
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1].splitlines()
    linted = [re.sub(r" (\.|\.github/|CITATION).*", "", command.strip()) for command in recipe]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    before = re.search(r"^lint: .venv/ready(.*)", MAKEFILE, re.MULTILINE)[1]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in local["hooks"]] == [*linted, f"make{before}"]
    assert all(hook["entry"].startswith((".venv/bin/", "make ")) for hook in local["hooks"])
    assert all(hook["language"] == "system" for hook in local["hooks"])


def test_make_lint_and_the_hooks_see_every_issue_form():
    forms = {path.name for path in (ROOT / ".github/ISSUE_TEMPLATE").iterdir()} - {"config.yml"}
    assert forms == set(re.findall(r"ISSUE_TEMPLATE/([\w.]+)", MAKEFILE))


HELP = re.findall(r'^\t@echo "(make .*)"$', MAKEFILE, re.MULTILINE)


def test_make_help_names_targets_that_there_are_and_all_that_a_user_needs():
    named = {target for line in HELP for target in re.findall(r"\bmake ([a-z-]+)\b", line)}
    there = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert named <= there
    of_maintainers = {"help", "coverage", "torture", "fuzz", "kit", "toolchains", "airgap", "screenshots", "release"}
    of_maintainers |= {"ci-comment", "pull-request"}  # which CI calls
    assert there - named == of_maintainers


def test_make_clean_takes_away_what_help_says_and_leaves_what_was_recorded(tmp_path):
    (told,) = [line for line in HELP if line.startswith("make clean")]
    taken, left = (re.findall(r"[\w.]+(?=/)|[\w.]+\.db", part) for part in told.split(";"))
    assert {"mlflow.db", "mlruns"} == set(left) and ".venv" in taken
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for name in [*taken, *left]:
        (tmp_path / name / "file").mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {"Makefile", *left}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]
    missing = [target for target in filter(None, targets) if not (page.parent / target).exists()]
    assert missing == []
