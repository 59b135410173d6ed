"""What Slurm is asked, and what is said of what it answers: the words, without a cluster (test_jobs.py has one)."""

from pathlib import Path

import pytest

from pipeline.config import Step, parse
from pipeline.errors import RequestError
from pipeline.execution import jobs, slurm
from pipeline.execution.runner import Exit
from pipeline.execution.slurm import Cluster, SlurmJob, Status
from pipeline.execution.task import Submission
from pipeline.planning.fingerprint import environment_of
from tests.pipeline.memory import Memory, MemoryJob, chain


@pytest.fixture
def job(tmp_path) -> SlurmJob:
    """A job whose log and exit code are written by the test."""
    cluster = Cluster(at=float("inf"))  # which asks nobody
    log = tmp_path / "a.log"
    ask = Submission(
        folder="", env_manager="", run_id="1", tracking_uri="", uploads={}, name="a-1", command=(), script="",
        environ={}, log=str(log), job_file=str(log.with_name("job_id")),
    )  # fmt: skip
    made = SlurmJob(cluster, None, ask, {"mem": "2G", "time": 5}, tell=lambda job: None)
    made.watch("7")
    cluster.at = float("inf")
    return made


def ended(job: SlurmJob, status: Status, code: int | None = None, log: str = "") -> Exit | None:
    job.log.write_text(log)
    if code is not None:
        job.log.with_name("exit_code").write_text(str(code))
    job.cluster.known["7"] = status
    return job.ended()


def test_backend_config_becomes_the_options_of_sbatch():
    config = {
        "mem": "2G",
        "cpus_per_task": 4,
        "exclusive": True,
        "gpus": False,
        "nodelist": ["n1", "n2"],
        "shared": True,
    }
    command = slurm.sbatch("a-1", Path("/shared/50%/a.log"), config, bad_nodes=["n3"])
    asked = [word for word in command if word.startswith(("--mem", "--cpus", "--ex", "--gpus", "--nodelist"))]
    assert asked == ["--mem=2G", "--cpus-per-task=4", "--exclusive", "--nodelist=n1,n2", "--exclude=n3"]
    assert "--output=/shared/50%%/a.log" in command, "a % is no pattern"
    assert "--no-requeue" in command, "a second attempt is ours to make, in a run of its own"


def test_a_node_that_sees_no_folder_of_ours_is_not_asked_to_write_there():
    assert "--output=/dev/null" in slurm.sbatch("a", Path("/shared/a.log"), {"shared": False})


def test_nodes_that_failed_are_excluded_beside_those_that_the_user_excludes():
    assert "--exclude=n1,n3" in slurm.sbatch("a", Path("a.log"), {"exclude": "n1"}, bad_nodes={"n3"})


def test_a_step_runs_on_the_project_that_the_nodes_see_or_on_its_runs_own_copy():
    seen = slurm.script("r1", Path("/j o/a.log"), {}, Path("/p p/step"))
    assert "-m pipeline.remote r1 --shared '/j o' --code '/p p/step'" in seen
    apart = slurm.script(
        "r1", Path("/j/a.log"), {"shared": False, "command": "run-image x.sif python -m pipeline.remote"}, None
    )
    assert apart.splitlines()[1:] == ["run-image x.sif python -m pipeline.remote r1"]


def test_what_squeue_lists_is_understood():
    jobs = {
        "3": Status("CANCELLED", "None", 36608, "n2", "UNLIMITED"),
        "1": Status("FAILED", "NonZeroExitCode", 768, "n1", "1-00:00:00"),
        "2": Status("PENDING", "ReqNodeNotAvail, UnavailableNodes:n[1-3]", 0, "", "5:00"),
    }
    rows = [[job, s.state, str(s.wait_status), s.nodes, s.limit, s.reason] for job, s in jobs.items()]
    widths = slurm.COLUMNS.values()
    lines = ["".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    assert slurm.statuses("\n".join([*lines, "slurm_load_jobs error: Unable to contact slurm controller"])) == jobs


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("sbatch: error: invalid partition specified: nix\nsbatch: error: Batch job submission failed: Bad name\n",
         "Slurm refused the job (invalid partition specified: nix; Bad name); correct"),
        ("sbatch: error: Invalid --time specification\n",
         "Slurm refused the job (Invalid --time specification); correct"),
        ("", "Slurm refused the job (sbatch said nothing); correct"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_one_sentence(said, sentence):
    assert slurm.refusal(said).startswith(sentence)


@pytest.mark.parametrize(
    ("status", "code", "log", "said"),
    [
        (Status("RUNNING"), 0, "", Exit(0)),
        (Status("RUNNING"), 3, "last words", Exit(3)),
        (Status("FAILED", wait_status=137 << 8), 137, "", Exit(-9)),
        (Status("TIMEOUT", limit="5:00"), 143, "",
         Exit(-15, "Slurm ended it at its time limit of 5:00 (time: 5 in backend_config); ask for more")),
        (Status("OUT_OF_MEMORY"), 137, "",
         Exit(-9, "it needed more memory than Slurm gave it (mem: 2G in backend_config); ask for more")),
        (Status("FAILED", wait_status=9), 137, "slurmstepd: error: Detected 1 oom-kill event(s)",
         Exit(-9, "it needed more memory than Slurm gave it (mem: 2G in backend_config); ask for more")),
        (Status("NODE_FAIL", nodes="n2"), None, "", Exit(-9, "its node n2 failed", elsewhere=True)),
        (Status("PREEMPTED"), None, "", Exit(-15, "Slurm ended it in favour of another job", elsewhere=True)),
        (Status("CANCELLED"), 143, "", Exit(-15, "its job 7 was cancelled in Slurm")),
        (Status("PENDING", "PartitionTimeLimit"), None, "",
         Exit(1, "Slurm will never start it (PartitionTimeLimit); ask for something else in backend_config")),
        (Status("PENDING", "Resources"), None, "", None),
        (Status("RUNNING"), 143, "", None),  # whose signal that was, Slurm will tell
        (Status("COMPLETED"), None, "", None),  # its exit code is on its way
    ],
)  # fmt: skip
def test_each_end_has_its_sentence(job, status, code, log, said):
    assert ended(job, status, code, log) == said


def test_a_job_that_leaves_nothing_behind_is_not_waited_for_for_ever(job):
    assert ended(job, Status("FAILED", wait_status=127 << 8)) is None
    job.lost -= jobs.LAG + 1
    assert job.ended() == Exit(127)


def test_a_node_that_cannot_do_the_command_is_told_where_nobody_sees_its_output(job):
    job.outcome = lambda: None
    assert ended(job, Status("FAILED", wait_status=127 << 8)) is None
    job.lost -= jobs.LAG + 1
    exit = job.ended()
    assert exit and exit.why.startswith("its job 7 ended before the step began (exit code 127); see to the node")


def test_a_job_that_slurm_knows_no_more_has_failed_with_the_folder_named(job):
    assert ended(job, Status()) is None
    job.lost -= jobs.LAG + 1
    exit = job.ended()
    assert exit and exit.code == 1 and f"left no exit code in {job.log.parent}" in exit.why


def test_a_node_that_failed_is_remembered(job):
    ended(job, Status("NODE_FAIL", nodes="n2"))
    assert job.cluster.bad_nodes == {"n2"}


def step(**config) -> Step:
    return Step("a", backend="slurm", backend_config=config)


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """A folder, which is the PATH, that has programs by the names of Slurm's."""
    for name in ("sbatch", "squeue", "scancel"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_mistyped_option_is_told_with_the_nearest_good_one(programs):
    with pytest.raises(RequestError, match=r"'particion' in pipeline.a.backend_config: did you mean partition"):
        slurm.check([step(particion="x")], None, False)


def test_slurms_programs_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="no program 'sbatch' on the PATH"):
        slurm.check([step()], None, False)
    assert slurm.check([Step("a")], None, False) == [], "nobody needs them"


def test_a_store_that_other_machines_cannot_use_is_told_before_anything_starts(programs):
    database = Path("/p/mlflow.db")
    (warning,) = slurm.check([step()], database, True)
    assert warning.startswith("the nodes must see the SQLite file /p/mlflow.db under the same path")
    with pytest.raises(RequestError, match=r"step a has shared: false, and what it needs is in the SQLite file"):
        slurm.check([step(shared=False)], database, True)
    with pytest.raises(RequestError, match="files on this machine"):
        slurm.check([step(shared=False)], None, True)
    assert slurm.check([step(shared=False)], None, False) == []


def test_all_steps_have_the_common_backend_but_for_what_they_say_themselves():
    request = parse(
        {
            "backend": "slurm",
            "backend_config": {"mem": "1G", "partition": "all"},
            "pipeline": {
                "a": {},
                "b": {"backend_config": {"mem": "8G"}},
                "c": {"backend": "local"},
                "d": {"extends": "b", "backend_config": {"gpus": 1}},
            },
        }
    )
    found = {name: (one.backend, dict(one.backend_config)) for name, one in request.steps.items()}
    assert found == {
        "a": ("slurm", {"mem": "1G", "partition": "all"}),
        "b": ("slurm", {"mem": "8G", "partition": "all"}),
        "c": ("local", {}),
        "d": ("slurm", {"gpus": 1, "mem": "1G", "partition": "all"}),
    }


def test_where_a_step_runs_is_no_part_of_what_it_depends_on():
    here = environment_of("local", "local", {})
    assert environment_of("local", "slurm", {"mem": "2G"}) == environment_of("local", "slurm", {"mem": "4G"}) == here
    assert environment_of("local", "kubernetes", {"image": "pipeline:2"}) == here
    assert environment_of("local", "databricks", {}) != here, "which brings an environment of its own"
    memory = Memory(chain("a", "b"))
    assert set(memory.run().values()) == {"executed"}
    assert set(memory.run(backend="slurm", backend_config={"mem": "2G"}).values()) == {"reused"}


class LostJob(MemoryJob):
    """Its machine failed under it."""

    def ended(self) -> Exit:
        return Exit(-9, "its node n2 failed", elsewhere=True) if super().ended().code else Exit(0)


def test_a_step_whose_machine_failed_is_tried_again_though_it_has_no_retries(monkeypatch):
    monkeypatch.setattr("tests.pipeline.memory.MemoryJob", LostJob)
    memory = Memory({"a": {"retry_pause": 0.01}})
    memory.executor.failing = {"a": 1}
    assert memory.run() == {"a": "executed"}
    assert [event.text for event in memory.events if event.kind == "retry"] == [
        "attempt 1 failed (its node n2 failed); again in 0.01 s"
    ]
    memory = Memory({"b": {"retry_pause": 0.01}})
    memory.executor.failing = {"b": 9}
    assert memory.run() == {"b": "failed"}
    assert memory.outcomes["b"].reason == "its node n2 failed", "not for ever"


def test_steps_elsewhere_have_a_limit_of_their_own():
    blocks = {name: {"backend": "slurm"} for name in ("a", "b", "c")} | {name: {} for name in ("d", "e")}
    memory = Memory(blocks)
    assert set(memory.run(max_parallel=1, max_parallel_remote=2).values()) == {"executed"}
    most, under_way = {True: 0, False: 0}, {True: 0, False: 0}
    for event in memory.events:
        remote = "backend" in blocks.get(event.step, {})
        under_way[remote] += {"started": 1, "ended": -1}.get(event.kind, 0)
        most[remote] = max(most[remote], under_way[remote])
    assert most == {True: 2, False: 1}
