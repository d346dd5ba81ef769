"""Fuzz a target by its coverage: ``python -m tests.fuzz.run splitter -max_total_time=60``; needs ``fuzz``."""

import sys
import tempfile
from pathlib import Path

import atheris

INSTRUMENTED = [f"pipeline.massive.{name}" for name in ("framing", "salvage", "frames", "decode", "lenient")]
with atheris.instrument_imports(include=INSTRUMENTED):
    from tests.fuzz import targets

CHECKS = {
    "splitter": (targets.check_splitter, targets.SPLITTER_SEEDS),
    "decoder": (targets.check_decoder, targets.DECODER_SEEDS),
}
BOUNDS = ("-timeout=30", "-rss_limit_mb=1024", "-malloc_limit_mb=256", "-max_len=8192")
"""An input may take so many seconds, instrumented and on a busy machine, and so much memory: the slowest take
0.3 s otherwise, for some ten decodings of 80 KB."""


def main() -> None:
    """Run what the arguments name, from its seeds on; found inputs are left where it was started."""
    check, seeds = CHECKS[sys.argv[1]]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            Path(corpus, f"seed-{number}").write_bytes(seed)
        atheris.Setup([sys.argv[0], *BOUNDS, *sys.argv[2:], corpus], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
