"""``python -m tests.chaos --seed N --seconds S``: one run, its figures, and what is wrong with it."""

import argparse
import json
import logging
import sys

from tests.chaos.run import Run


def main():
    """Run and report; the exit code is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--no-redis", action="store_true")
    parser.add_argument(
        "--story",
        help="FROM-TO or FROM-TO/CHANNEL: tell what happened between, s; default: before the first untold id",
    )
    arguments = parser.parse_args()
    logging.getLogger("tickbraid").propagate = False
    run = Run(arguments.seed, arguments.seconds, with_redis=not arguments.no_redis)
    print(run.describe(), flush=True)  # noqa: T201  # a report
    verdict = run.play()
    for name, figure in verdict.figures().items():
        print(f"  {name}: {json.dumps(figure)}")  # noqa: T201  # as above
    for line in verdict.clusters():
        print(f"  {line}")  # noqa: T201  # as above
    span, _, channel = (arguments.story or "").partition("/")
    story = verdict.story(*map(float, span.split("-")), channel) if span else verdict.plot()
    for line in story:
        print(f"    {line}")  # noqa: T201  # as above
    for problem in verdict.problems:
        print(f"  WRONG: {problem}")  # noqa: T201  # as above
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
