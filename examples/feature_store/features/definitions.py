"""What Feast is told: the drivers, what is known of them, and which of it the model reads."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)

# No created_timestamp_column: see README.md. What is corrected comes as a newer row.
source = FileSource(name="driver_stats_source", path="driver_stats.parquet", timestamp_field="event_timestamp")

driver_stats = FeatureView(
    name="driver_stats",
    entities=[driver],
    ttl=timedelta(days=7),  # what is older is not known any more
    source=source,
    schema=[  # as wide as in the source: the join gives what is there, the online store what stands here
        Field(name="conv_rate", dtype=Float64),
        Field(name="acc_rate", dtype=Float64),
        Field(name="avg_daily_trips", dtype=Int64),
    ],
)

trips = FeatureService(name="trips", features=[driver_stats])
