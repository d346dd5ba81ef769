"""What a benchmark that only measures does with its command line and its table."""

import argparse
from collections.abc import Iterable

__all__ = ["print_table"]


def print_table(description: str, lines: Iterable[str]) -> None:
    """Print each line as soon as it is measured; there is nothing to choose on the command line.

    Args:
        description: the module's docstring.
        lines: of Markdown.
    """
    argparse.ArgumentParser(description=description.partition("\n")[0]).parse_args()
    for line in lines:
        print(line, flush=True)
