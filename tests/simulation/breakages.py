"""Deliberate breakages of the product, as somebody might write them: the simulation must find them.

``python -m tests.simulation.breakages [NAME…] --seeds 500 --jobs 2`` looks for the first seed that does.
"""

import argparse
import sys
from typing import Final

from tests.simulation.breakages_of_channels import OF_CHANNELS
from tests.simulation.breakages_of_ticks import OF_TICKS
from tests.simulation.breaking import Breakage
from tests.simulation.hunting import hunt

__all__ = ["BREAKAGES", "main"]

BREAKAGES: Final[tuple[Breakage, ...]] = (*OF_TICKS, *OF_CHANNELS)


def main(arguments: list[str] | None = None) -> int:
    """Hunt for what the command line names, or all; return 1 where something was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.breakages", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of breakages; all by default")
    parser.add_argument("--seeds", type=int, default=500, help="at most")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    known = {breakage.name: breakage for breakage in BREAKAGES}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no such breakage: {', '.join(unknown)}")
    missed = 0
    for breakage in [known[name] for name in options.names] or BREAKAGES:
        find = hunt(breakage, range(options.first, options.first + options.seeds), options.jobs)
        missed += find.trial is None
        print(find, flush=True)  # noqa: T201  # a report
        print(f"    {breakage.part}: {breakage.seen}", flush=True)  # noqa: T201  # as above
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
