"""Where the last batch ended that was scored, told from the runs before this one: the brokers are told nothing."""

from collections.abc import Iterator

from batch import Span, parse_offsets
from mlflow import ActiveRun, MlflowClient
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

TOPIC, OFFSETS, GIVEN = "stream.topic", "stream.offsets", "stream.given"
PAGE = 50  # runs looked at, at a time


def since_last_scored(run: ActiveRun, topic: str, scored_by: str) -> dict[int, Span]:
    """For each partition the span from the end of the last batch of `topic` that was scored on; none where none was.

    A batch that a person gave (`offsets`) moves the end forwards, and never back.
    """
    client, ends = MlflowClient(), dict[int, int]()
    for earlier in batches(client, run.info.experiment_id, topic):
        if is_scored(client, earlier, scored_by):
            for partition, span in parse_offsets(earlier.data.tags[OFFSETS]).items():
                ends[partition] = max(ends.get(partition, 0), span.end or 0)
            if GIVEN not in earlier.data.tags:  # all before it are in it
                break
    return {partition: Span(end) for partition, end in ends.items()}


def batches(client: MlflowClient, experiment: str, topic: str) -> Iterator[Run]:
    """The finished runs that took a batch of the topic, newest first."""
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.`{TOPIC}` = '{topic}' AND attributes.status = 'FINISHED'",
            order_by=["attributes.end_time DESC"],
            max_results=PAGE,
            page_token=token,
        )
        yield from page
        if not (token := page.token):
            return


def is_scored(client: MlflowClient, batch: Run, scored_by: str) -> bool:
    """Whether the batch is done with: the step that scores it is, in the same pipeline run, or it has no row."""
    if not batch.data.metrics.get("rows"):
        return True
    parent = batch.data.tags.get(MLFLOW_PARENT_RUN_ID, "")
    beside = (
        f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}' AND attributes.run_name = '{scored_by}' "
        "AND attributes.status = 'FINISHED'"
    )
    return bool(client.search_runs([batch.info.experiment_id], beside, max_results=1))
