"""Draw docs/demo.svg, the demo's table and its closing account: ``make picture``."""  # noqa: INP001  # a script

import io
import re
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from pipeline.cli.demo import REFRESH_S, Demo
from pipeline.cli.stop import Stop
from pipeline.embedded import RedisServer

SECONDS: Final = 15.0
RATE: Final = 10_000.0
WIDTH: Final = 88  # the account is so wide
OUTPUT: Final = Path(__file__).with_name("demo.svg")


def main() -> None:
    """Run the demo and write the picture."""
    canvas = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    with Stop() as stop, RedisServer.start() as redis, Demo(RATE, redis.url, stop) as show:
        table = show.picture(SECONDS, WIDTH)
        while show.elapsed_s < SECONDS and not stop.wait(REFRESH_S):
            table = show.picture(SECONDS, WIDTH)
        if problems := show.finish():
            sys.exit("\n".join(problems))
        canvas.print(table, Text(), *map(Text, show.account()), sep="\n")
    svg = canvas.export_svg(title="make demo")
    # Rich refers to fonts elsewhere; a picture that loads nothing shows everywhere.
    OUTPUT.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
