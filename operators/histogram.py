"""A latency histogram in plain ints: cheap to write, exact to subtract."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from operator import add, sub
from typing import Final

__all__ = ["HistogramSnapshot", "LatencyHistogram", "edge_at"]

_STEP_BITS: Final = 5
"""32 buckets an octave: a value is told as the middle of its bucket, at most 1.6 % off."""
_LIMIT_BITS: Final = 42
"""From 2**42 ns (73 min) on values share the last bucket; a percentile in it is the maximum."""
_LAST: Final = (_LIMIT_BITS - _STEP_BITS + 1) << _STEP_BITS


def _bucket_of(value_ns: int) -> int:
    shift = value_ns.bit_length() - _STEP_BITS - 1
    if shift <= 0:
        return value_ns
    bucket = (shift << _STEP_BITS) + (value_ns >> shift)
    return bucket if bucket < _LAST else _LAST  # noqa: FURB136 - min() takes as long as all the rest


def _lowest_of(bucket: int) -> int:
    shift = max((bucket >> _STEP_BITS) - 1, 0)
    return (bucket - (shift << _STEP_BITS)) << shift


_EDGES: Final = tuple(map(_lowest_of, range(_LAST + 1)))
"""The smallest value of each bucket, ns."""


def edge_at(value_ns: int) -> int:
    """Return the nearest edge of a bucket, ns, that is no less; 3 % more at most, up to 73 min."""
    return _EDGES[bisect_left(_EDGES, value_ns)]


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """Holds what a histogram held at a moment, or between two.

    ``later - earlier`` is what came between two snapshots of one histogram, ``a + b`` what two of them hold
    together. Without values all figures are 0.

    Args:
        buckets: how many values each held.
        negative: how many values were below zero (two clocks that disagree); they are in nothing else.
        total: sum of the values, ns.
        max: the largest, ns; of a difference exact only if it is the largest ever, else 3 % off at most.
        below_zero: how many values were so far below zero, by bucket.
    """

    buckets: tuple[int, ...] = field(repr=False)
    negative: int
    total: int
    max: int
    below_zero: dict[int, int] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """How many values, the negative ones left out."""
        return sum(self.buckets)

    @property
    def mean(self) -> float:
        """Of the values, ns."""
        return self.total / (self.count or 1)

    def percentile(self, q: float) -> int:
        """Return the smallest value, ns, that at least ``q`` percent of the values do not exceed.

        Raises:
            ValueError: ``q`` is not within 0 and 100.
        """
        return self.percentiles(q)[0]

    def percentiles(self, *qs: float) -> list[int]:
        """Return several; the buckets are added up once.

        Raises:
            ValueError: as above.
        """
        running = list(accumulate(self.buckets))
        return [self._at(q, running) for q in qs]

    def _at(self, q: float, running: list[int]) -> int:
        if not 0 <= q <= 100:
            raise ValueError(f"q must be 0 to 100 percent, not {q!r}")
        if not running[-1]:
            return 0
        bucket = bisect_left(running, max(1, ceil(running[-1] * q / 100)))
        return self.max if bucket == _LAST else min((_EDGES[bucket] + _EDGES[bucket + 1]) // 2, self.max)

    def smallest(self, rank: int = 1) -> int | None:
        """Return the smallest value, ns, negative ones included, or the second, third, … smallest.

        It is 3 % further from zero at most. None where there are not so many.
        """
        below_zero = sum(self.below_zero.values())
        if rank <= below_zero:
            furthest = sorted(self.below_zero, reverse=True)
            running = list(accumulate(self.below_zero[bucket] for bucket in furthest))
            return -_EDGES[furthest[bisect_left(running, rank)]]
        running = list(accumulate(self.buckets, initial=below_zero))
        return _EDGES[bisect_left(running, rank) - 1] if rank <= running[-1] else None

    def below(self, edges_ns: Sequence[int]) -> list[int]:
        """Return how many values are less than each of these, exactly if they are edges of buckets."""
        running = list(accumulate(self.buckets, initial=0))
        return [running[bisect_left(_EDGES, edge_ns)] for edge_ns in edges_ns]

    def __add__(self, other: "HistogramSnapshot") -> "HistogramSnapshot":
        return HistogramSnapshot(
            tuple(map(add, self.buckets, other.buckets)),
            self.negative + other.negative,
            self.total + other.total,
            max(self.max, other.max),
            dict(Counter(self.below_zero) + Counter(other.below_zero)),
        )

    def __sub__(self, earlier: "HistogramSnapshot") -> "HistogramSnapshot":
        buckets = tuple(map(sub, self.buckets, earlier.buckets))
        running = list(accumulate(buckets))  # grows no more after the last bucket that has any
        above = bisect_left(running, running[-1]) + 1 if running[-1] else 0
        largest = self.max if above > _LAST else min(self.max, max(_EDGES[above] - 1, 0))
        return HistogramSnapshot(
            buckets,
            self.negative - earlier.negative,
            self.total - earlier.total,
            largest,
            dict(Counter(self.below_zero) - Counter(earlier.below_zero)),
        )


class LatencyHistogram:
    """Count durations in log-linear buckets, from 1 ns to 73 min within 1.6 %, the sum and maximum exact.

    One thread records; any thread takes a snapshot, without a lock. A snapshot may miss a part (sum, maximum)
    of what is being recorded meanwhile; the next has it.
    """

    def __init__(self) -> None:
        self._buckets = [0] * (_LAST + 1)
        self._negative = 0
        self._below_zero: dict[int, int] = {}
        self._total = 0
        self._max = 0

    def record(self, value_ns: int, count: int = 1) -> None:
        """Count a duration, ``count`` times."""
        if value_ns < 0:
            self._count_negative(-value_ns, count)
            return
        self._buckets[_bucket_of(value_ns)] += count
        self._total += value_ns * count
        if value_ns > self._max:  # noqa: PLR1730 - as in `_bucket_of`
            self._max = value_ns

    def record_since(self, moments_ms: list[float], now_ns: int, count: int = 1) -> None:
        """Count how long ago each of some moments was, at C speed if they are near each other.

        Once they are sorted, those of one bucket stand together, and a bisection finds where they end.

        Args:
            moments_ms: ms since the epoch, int or float; the list is sorted. One before 1970 counts as 1970.
            now_ns: ns since the epoch; moments after it count as negative.
            count: how many values each stands for.
        """
        moments_ms.sort()
        if moments_ms and moments_ms[0] < 0:
            moments_ms[:] = [max(moment, 0) for moment in moments_ms]
        past = bisect_right(moments_ms, now_ns / 1_000_000)
        buckets = self._buckets
        index = 0
        while index < past:
            age_ns = now_ns - int(moments_ms[index] * 1_000_000)
            if age_ns < 0:  # noqa: PLR1730 - as above; a float near now is 0.2 µs coarse
                age_ns = 0
            if not index and age_ns > self._max:
                self._max = age_ns
            bucket = _bucket_of(age_ns)
            # The last moment that is at least as old as the bucket's lower edge.
            end = bisect_right(moments_ms, (now_ns - _EDGES[bucket]) // 1_000_000, index + 1, past)
            buckets[bucket] += (end - index) * count
            index = end
        self._total += (now_ns * past - int(sum(moments_ms[:past]) * 1_000_000)) * count
        for moment in moments_ms[past:]:
            self._count_negative(int(min(moment * 1_000_000 - now_ns, 1 << _LIMIT_BITS)), count)

    def snapshot(self) -> HistogramSnapshot:
        """Return what it holds; it takes some µs."""
        below_zero = self._below_zero.copy()
        return HistogramSnapshot(tuple(self._buckets), self._negative, self._total, self._max, below_zero)

    def _count_negative(self, below_ns: int, count: int) -> None:
        self._negative += count
        bucket = _bucket_of(max(below_ns, 0))  # a float near now is 0.2 µs coarse
        self._below_zero[bucket] = self._below_zero.get(bucket, 0) + count
