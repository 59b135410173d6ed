"""What is said at the end of a run."""

from dataclasses import replace

from pipeline.config import parse
from pipeline.reporting.tables import run_name, summary
from tests.pipeline.memory import Memory, chain


def test_what_a_run_notes_is_said_under_the_table_also_where_it_is_reused():
    memory = Memory(chain("a", "b"))
    memory.run()
    run = memory.outcomes["b"].run_id
    memory.store.results[run] = replace(memory.store.results[run], note="version 3 is rejected: too bad")
    assert memory.run()["b"] == "reused"
    table, note = summary(parse({"pipeline": memory.pipeline}), memory.outcomes).split("\n\n")
    assert note == "b: version 3 is rejected: too bad"
    assert table.splitlines()[-1].startswith("b     = reused")


def test_a_run_is_named_after_the_parameters_that_were_asked_for():
    asked = ["steps='a,b'", "++pipeline.a.parameters.seed=1", "force=true"]
    assert run_name(asked) == "a.seed=1 steps='a,b' force=true"
    assert run_name(["steps='all'"]) == run_name([]) == "pipeline"
