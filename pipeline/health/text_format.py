"""A reading as the text that Prometheus scrapes.

prometheus_client writes the same, and the tests hold both against each other; but it checks each name and
each label of each line anew, which takes three times as long.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from operators.histogram import HistogramSnapshot

from .instruments import EDGES_NS, INSTRUMENTS, Instrument
from .readings import LATENCY_LABELS, Reading, latencies

__all__ = ["LATENCY_DOC", "PREFIX", "buckets", "text_of"]

PREFIX: Final = "tickbraid_"
LATENCY_DOC: Final = "How long ticks took for a stage of their way."
# A bucket holds what is no more than its label says; ours holds what is less than its edge, in whole ns.
_LE: Final = (*(repr((edge_ns - 1) / 1e9) for edge_ns in EDGES_NS), "+Inf")
_LATENCY: Final = f"{PREFIX}latency_seconds"
_BUCKET_LABELS: Final = (*LATENCY_LABELS, "le")
HEADS_KEPT: Final = 4096


def text_of(reading: Reading, *, open_metrics: bool) -> str:
    """Return all metrics of a reading, without the end mark of OpenMetrics."""
    return "".join(_lines(reading, open_metrics))


def buckets(histogram: HistogramSnapshot) -> Iterator[tuple[str, int]]:
    """Yield what each bucket's label ``le`` says, and how many latencies are no more than that."""
    return zip(_LE, (*histogram.below(EDGES_NS), histogram.count), strict=True)


def _lines(reading: Reading, open_metrics: bool) -> Iterator[str]:  # noqa: FBT001  # one caller
    for instrument in INSTRUMENTS:
        family = _family_name(instrument)
        name = f"{family}_total" if instrument.kind == "counter" else family
        yield _about(family if open_metrics else name, instrument, open_metrics=open_metrics)
        for labels, value in instrument.values(reading):
            yield f"{_head(name, instrument.labels, labels)}{float(value)}\n"
    yield _described(_LATENCY, "histogram", LATENCY_DOC, "seconds" if open_metrics else "")
    for labels, histogram in latencies(reading):
        for le, count in buckets(histogram):
            yield f"{_head(f'{_LATENCY}_bucket', _BUCKET_LABELS, (*labels, le))}{float(count)}\n"
        yield f"{_head(f'{_LATENCY}_count', LATENCY_LABELS, labels)}{float(histogram.count)}\n"
        yield f"{_head(f'{_LATENCY}_sum', LATENCY_LABELS, labels)}{histogram.total / 1e9}\n"


def _family_name(instrument: Instrument) -> str:
    return PREFIX + instrument.name + (f"_{instrument.unit}" if instrument.unit else "")


def _about(name: str, instrument: Instrument, *, open_metrics: bool) -> str:
    return _described(name, instrument.kind, instrument.doc, instrument.unit if open_metrics else "")


def _described(name: str, kind: str, doc: str, unit: str) -> str:
    return f"# HELP {name} {doc}\n# TYPE {name} {kind}\n" + (f"# UNIT {name} {unit}\n" if unit else "")


@lru_cache(HEADS_KEPT)
def _head(name: str, labels: Sequence[str], values: Sequence[str]) -> str:
    """Return what stands before a value; it is the same in every scrape."""
    pairs = ",".join(
        f'{label}="{_escaped(value)}"' for label, value in sorted(zip(labels, values, strict=True))
    )
    return f"{name}{{{pairs}}} " if pairs else f"{name} "


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
