"""Takes secrets out of what is logged, whoever logged it: urllib's URL, a traceback, a callback's dict."""

import logging
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

from .secret import MASK, Secret

__all__ = ["RedactingFilter", "redact"]

SHORTEST: Final = 4
"""A known secret shorter than this is part of too many innocent words."""

_NAME: Final = r"(?:api[_-]?key|token|secret|passw(?:or)?d|passphrase|credential)s?"
_VALUE: Final = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'&,;)\]}\\]+)"""


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return what looks like a secret, and what is put in its place; compiled when first asked for."""
    return (
        # redis://user:password@host; up to the last @, as a password may hold one, quoted or not.
        (re.compile(r"""(://)[^\s"'<>]{1,1024}@"""), rf"\1{MASK}@"),
        # The key as it goes to Massive, in a trace of what was sent: {"action":"auth","params":"KEY"}.
        (
            re.compile(r"""(["']auth\\?["']\s*,\s*\\?["']params\\?["']\s*:\s*)\\?(?:"[^"]*"|'[^']*')"""),
            rf'\1"{MASK}"',
        ),
        # Authorization: Bearer KEY, as a header, in a dict, in a list of pairs.
        (
            re.compile(
                r"""(authorization\\?["']?\s*[:=,]\s*\\?["']?)(?:(?:bearer|basic|token)\s+)?[^\s"'\\,;})\]]+""",
                re.IGNORECASE,
            ),
            rf"\1{MASK}",
        ),
        (re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{MASK}"),
        # apiKey=KEY, "password": "…", MASSIVE_API_KEY=…
        (re.compile(rf"""({_NAME}\\?["']?\s*[:=]\s*\\?){_VALUE}""", re.IGNORECASE), rf"\1{MASK}"),
    )


_SECRET_NAME: Final = rf"(?:{_NAME}|authorization)$"
_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
"""What every record has; all else is a caller's ``extra``."""


def redact(text: str) -> str:
    """Return a text without what looks like a secret: it stands where keys, tokens and passwords stand."""
    for pattern, mask in _patterns():
        text = pattern.sub(mask, text)
    return text


class RedactingFilter(logging.Filter):
    """Takes secrets out of log records: message, arguments, exception, stack and ``extra``.

    For a handler: ``handler.addFilter(RedactingFilter(settings.massive_api_key))``. On a logger it would see
    nothing of the loggers below. A record that holds a secret is changed, so that handlers after this one
    are safe too: its arguments are gone into its message, its exception is there as text only. Any thread.

    Args:
        secrets: what is known to be secret; it is found wherever it stands, quoted for a URL too.
    """

    def __init__(self, *secrets: Secret | str) -> None:
        super().__init__()
        self._known: re.Pattern[str] | None = None
        self._forms: set[str] = set()
        self.hide(*secrets)

    def hide(self, *secrets: Secret | str) -> None:
        """Take these out too from now on; of an address the password."""
        for secret in secrets:
            text = secret.reveal() if isinstance(secret, Secret) else secret
            place, at, _ = text.partition("://")[2].rpartition("@")
            plain = place.rpartition(":")[2] if at else text
            self._forms |= {
                plain,
                unquote(plain),
                quote(plain, safe=""),
                quote_plus(plain),
                repr(plain)[1:-1],
            }
        longest_first = sorted((f for f in self._forms if len(f) >= SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the record; it always passes."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  # logging would print message and arguments as they are
            text = record.msg = f"{record.msg!r} with {record.args!r}, which do not fit"
            record.args = None
        clean = self.clean(text)
        if clean != text:
            record.msg, record.args = clean, None
        trace = record.exc_text or (_FORMATTER.formatException(record.exc_info) if record.exc_info else "")
        if (clean := self.clean(trace)) != trace:
            # The exception goes: a handler that looks at it, and not at its text, would show it.
            record.exc_text, record.exc_info = clean, None
        if record.stack_info:
            record.stack_info = self.clean(record.stack_info)
        for name in record.__dict__.keys() - _RECORD:
            record.__dict__[name] = self.clean_value(record.__dict__[name], name)
        return True

    def clean(self, text: str) -> str:
        """Return a text without secrets, those that are known and those that look like one."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return redact(text)

    def clean_value(self, value: Any, name: str = "") -> Any:
        """Return a value without secrets: a text, or a mapping or sequence with some in it.

        What is none of these stays as it is, if its words hold no secret, else its words are returned.
        """
        if value is not None and re.search(_SECRET_NAME, name, re.IGNORECASE):
            return MASK
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {self.clean_value(key): self.clean_value(item, str(key)) for key, item in value.items()}
        if type(value) in {list, tuple, set, frozenset}:
            return type(value)(self.clean_value(item) for item in value)
        texts = str(value), repr(value)
        return value if texts == tuple(map(self.clean, texts)) else self.clean(texts[0])


_FORMATTER: Final = logging.Formatter()
