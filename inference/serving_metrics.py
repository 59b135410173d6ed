"""What a server counts, in the text format of Prometheus. Counted by one process: each worker has its own.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections import Counter
from collections.abc import Mapping

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Metrics:
    """Counted in the event loop's thread alone."""

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()  # by status
        self.errors: Counter[str] = Counter()  # by kind
        self.rows = 0
        self.predictions: Counter[str] = Counter()  # by class
        self.buckets = [0] * len(BUCKETS)
        self.seconds = 0.0
        self.answered = 0

    def request(self, status: int, seconds: float) -> None:
        """One request to the model, however it ended."""
        self.requests[status] += 1
        self.answered += 1
        self.seconds += seconds
        for place, limit in enumerate(BUCKETS):
            self.buckets[place] += seconds <= limit

    def text(self, gauges: Mapping[str, float], model: Mapping[str, str]) -> str:
        """All that was counted; `gauges` by name, `model` as labels."""
        lines = ["# TYPE inference_requests_total counter"]
        lines += [f'inference_requests_total{{status="{key}"}} {count}' for key, count in sorted(self.requests.items())]
        lines += ["# TYPE inference_errors_total counter"]
        lines += [f"inference_errors_total{labels(kind=key)} {count}" for key, count in sorted(self.errors.items())]
        lines += ["# TYPE inference_rows_total counter", f"inference_rows_total {self.rows}"]
        lines += ["# TYPE inference_predictions_total counter"]
        for value, count in sorted(self.predictions.items()):
            lines.append(f"inference_predictions_total{labels(value=value)} {count}")
        name = "inference_request_seconds"
        lines += [f"# TYPE {name} histogram"]
        lines += [f'{name}_bucket{{le="{limit}"}} {n}' for limit, n in zip(BUCKETS, self.buckets, strict=True)]
        lines += [f'{name}_bucket{{le="+Inf"}} {self.answered}']
        lines += [f"{name}_sum {self.seconds:.6f}", f"{name}_count {self.answered}"]
        for name, number in gauges.items():
            lines += [f"# TYPE inference_{name} gauge", f"inference_{name} {number:.15g}"]
        lines += ["# TYPE inference_model_info gauge", f"inference_model_info{labels(**model)} 1"]
        return "\n".join(lines) + "\n"


def labels(**values: str) -> str:
    """`{name="value"}`, escaped."""
    escaped = {
        key: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for key, value in values.items()
    }
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}"
