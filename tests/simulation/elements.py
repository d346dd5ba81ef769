"""What a server may put among ticks that is none: every kind that the simulator knows, and hostile ones."""

import json

from pipeline.massive.simulator.faults import MALFORMED
from pipeline.massive.simulator.session import status
from tests.hostile import HOSTILE, SAID

__all__ = ["BREAKING", "NO_TICKS", "STATUSES"]

LONGEST = 10_000
"""Characters; what is longer than a read has tests of its own."""

_SAID = [said for said in SAID if len(said) < LONGEST]


def _element(**fields):
    return json.dumps(fields).encode()


NO_TICKS = {
    **MALFORMED,
    "array": b"[]",
    "object": b"{}",
    "true": b"true",
    "deep": b'{"ev":' + b'{"ev":' * 20 + b"1" + b"}" * 21,
    "price_is_null": b'{"ev":"T","sym":"AAPL","p":null,"s":100,"t":1700000000000}',
    "price_is_infinite": b'{"ev":"T","sym":"AAPL","p":1e999,"s":100,"t":1700000000000}',
    "time_is_missing": b'{"ev":"Q","sym":"AAPL","bp":1.5,"ap":2.5}',
    "event_is_number": b'{"ev":5,"sym":"AAPL","p":1.5,"t":1700000000000}',
    "event_is_escaped": b'{"\\u0065v":"ZZ","sym":"AAPL","p":1.5,"t":1700000000000}',
    "symbol_is_array": b'{"ev":"T","sym":["AAPL"],"p":1.5,"s":100,"t":1700000000000}',
    **{f"event_{n}": _element(ev=f"Z{said}", sym="AAPL", p=1.5, t=1) for n, said in enumerate(_SAID)},
    **{f"symbol_{n}": _element(ev="T", sym=said, s=1) for n, said in enumerate(_SAID)},
    **{f"nothing_{n}": _element(said=said) for n, said in enumerate(_SAID)},
}
"""Elements that are no ticks, each rejected as one, by name."""

BREAKING = {
    "lone_surrogates": _element(ev="T", sym=HOSTILE[-1], p=1.5, s=1, t=1),
    "nan": b'{"ev":"T","sym":"AAPL","p":NaN,"s":100,"t":1700000000000}',
    "control_character": b'{"ev":"T","sym":"A\x01\n","p":1.5,"s":100,"t":1700000000000}',
    "single_quotes": b"{'ev':'T'}",
    "no_colon": b'{"ev" "T"}',
    "cut": b'{"ev":"T","sym":"AAPL","p":1.5,"s":1',
}
"""Elements of which one makes its whole message no JSON."""

STATUSES = [
    status("info", "Maintenance on Sunday"),
    *(_element(ev="status", status=f"x{said}", message=said) for said in _SAID),
]
"""Status elements of no meaning."""
