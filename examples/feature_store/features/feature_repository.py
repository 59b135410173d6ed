"""A Feast repository in a folder: made, opened, asked in both ways. No MLflow here."""

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import definitions
import pandas as pd
from feast import FeatureStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.types import Int64
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from saved_model import SavedModel
from step_error import StepError, first_line

HERE = Path(__file__).parent
KEY, MOMENT = definitions.driver.join_key, definitions.source.timestamp_field
FEATURES = [field.name for field in definitions.driver_stats.features]  # in their order, which `schema` has not
WHOLE = [field.name for field in definitions.driver_stats.features if field.dtype == Int64]
WRITTEN = "%Y-%m-%dT%H:%M:%S"
# When something was registered, and under which random name; of a registry made anew, the history.
INCIDENTAL = {"created_timestamp", "last_updated", "last_updated_timestamp", "project_uuid", "version_id"}
INCIDENTAL |= {"feature_view_version_history"}


def read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table with these columns, and others: KEY int64, MOMENT moments in UTC, FEATURES float64 or Int64, with gaps.

    Raises:
        StepError: no such table.
    """
    try:
        kinds = dict.fromkeys(FEATURES, "float64") | dict.fromkeys(WHOLE, "Int64")
        rows = pd.read_csv(path, dtype={KEY: "int64"} | kinds)
        if missing := [name for name in columns if name not in rows.columns]:
            raise StepError(f"{path.name} has no column {', '.join(missing)}; it has {', '.join(rows.columns)}")
        if MOMENT in columns:
            rows[MOMENT] = pd.to_datetime(rows[MOMENT], format=WRITTEN, utc=True)
    except (OSError, TypeError, ValueError) as error:  # of pandas, where a cell is no such number
        raise StepError(f"{path.name} cannot be read ({first_line(error)}); correct it") from None
    found_by = [name for name in columns if name not in FEATURES]
    if rows.empty or (gaps := rows[found_by].isna().any()).any():
        what = "no rows" if rows.empty else f"rows without {', '.join(gaps[gaps].index)}"
        raise StepError(f"{path.name} has {what}; correct it")
    return rows


def make(folder: Path, values: pd.DataFrame, until: datetime) -> FeatureStore:
    """A repository whose online store holds what is known at `until`; the same bytes from the same values."""
    folder.mkdir()
    for name in ("feature_store.yaml", "definitions.py"):
        shutil.copyfile(HERE / name, folder / name)
    values.to_parquet(folder / definitions.source.path, index=False)
    store = FeatureStore(repo_path=str(folder))
    store.apply([definitions.driver, definitions.driver_stats, definitions.trips])
    # From no earlier on: the look-up does not ask how old a value is, the join does.
    store.materialize(until - definitions.driver_stats.ttl, until)
    registry = folder / store.config.registry.path
    content = Registry.FromString(registry.read_bytes())
    for message, field in list(fields(content)):
        if field.name in INCIDENTAL:
            message.ClearField(field.name)
    registry.write_bytes(content.SerializeToString(deterministic=True))
    return store


def open_store(folder: Path) -> FeatureStore:
    """The repository in a folder, which may come from anybody: nothing in it may run code.

    Raises:
        StepError: it is none, or has code in it.
    """
    store = FeatureStore(repo_path=str(folder), fs_yaml_file=HERE / "feature_store.yaml")
    try:
        content = Registry.FromString((folder / store.config.registry.path).read_bytes())
    except (OSError, DecodeError) as error:
        raise StepError(f"{folder.name} is no Feast repository ({first_line(error)}); give what -e main made") from None
    if any(field.type == field.TYPE_BYTES for _, field in fields(content)):
        raise StepError(f"the registry of {folder.name} holds functions, which Feast pickles; define features without")
    return store


def fields(message: Message) -> Iterator[tuple[Message, FieldDescriptor]]:
    """What is set in a message and those that it holds, each field with the message that has it."""
    for field, value in message.ListFields():
        yield message, field
        for one in [value] if isinstance(value, Message) else value if field.is_repeated else []:
            if isinstance(one, Message):
                yield from fields(one)


def at_their_moments(store: FeatureStore, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, each with the values of its driver (KEY) that were known at its moment (MOMENT).

    Feast's answer is only looked up in: it has one row for two of the same driver and moment, and none where all that
    is known is too old.
    """
    asked = rows[[KEY, MOMENT]].drop_duplicates()
    found = store.get_historical_features(asked, store.get_feature_service(definitions.trips.name)).to_df()
    found = found.astype(dict.fromkeys(FEATURES, "float64"))
    return rows.merge(found[[KEY, MOMENT, *FEATURES]], how="left", on=[KEY, MOMENT], validate="many_to_one")


def online(store: FeatureStore, drivers: list[int]) -> pd.DataFrame:
    """The drivers (KEY), each with the values that the online store has."""
    found = store.get_online_features(
        features=store.get_feature_service(definitions.trips.name), entity_rows=[{KEY: one} for one in drivers]
    )
    rows: pd.DataFrame = found.to_df()[[KEY, *FEATURES]].astype(dict.fromkeys(FEATURES, "float64"))
    return rows


def answer(model: SavedModel, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, each with what the model says of it."""
    return pd.concat([rows, model.predict(rows)], axis=1)


def write_csv(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as `read_csv` reads them."""
    rows = rows.astype(dict.fromkeys(WHOLE, "Int64"))  # which an empty cell has made 22.0 of 22
    rows.to_csv(path, index=False, date_format=WRITTEN, lineterminator="\n")
