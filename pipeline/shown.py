"""Text of others made fit to be shown: on one line, bounded, with nothing that a terminal or a reader obeys.

What a server says is data: a ticker, an error's text, the reason of a close. It stays as it came in events,
ticks and files. Where it is shown to people, as the words of an event, a line of a terminal or of a log, it
goes through here, so that it can neither begin a line of its own nor move the cursor nor turn letters around.
"""

import json
import re
from typing import Any, Final

import msgspec

__all__ = ["json_line", "shown", "shown_lines"]

MOST_CHARACTERS: Final = 1000
_INDENT: Final = "    "


def shown(text: str, most: int = MOST_CHARACTERS) -> str:
    r"""Return a text on one line: each character that is not printable as its escape, ``\n`` or ``\u202e``.

    Not printable are controls, marks that turn the direction, what has no width, line ends of any kind, lone
    surrogates, and blanks other than the plain one.

    Args:
        text: whatever somebody sent.
        most: of more characters only so many are shown, and how many there were.
    """
    if len(text) > most:
        text = f"{text[:most]}… ({len(text):,} characters)"
    return text if text.isprintable() else "".join(map(_escaped, text))


def shown_lines(text: str) -> str:
    """Return a text of several lines, a traceback: none of them but the first begins where a line begins."""
    return f"\n{_INDENT}".join(map(shown, text.split("\n")))


def json_line(value: Any) -> str:
    """Return a value as JSON on one line; what is not printable is escaped, which to a parser is the same."""
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate, out of the name of a file
        return json.dumps(msgspec.to_builtins(value))
    return text if text.isprintable() else _UNPRINTABLE.sub(_json_escaped, text)


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


_UNPRINTABLE: Final = re.compile(r"[^ -~]")


def _json_escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]
