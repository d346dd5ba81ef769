"""Takes secrets out of what is logged, whoever logged it: urllib's URL, a traceback, a callback's dict."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

from .secret import MASK, Secret

__all__ = ["RedactingFilter", "redact"]

TELLING: Final = 12
"""A known secret of so many letters is no word, and is taken out wherever it stands."""
SHORTEST: Final = 4
"""A shorter one is a word, whatever it is made of."""

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


_ANYWHERE: Final = ("()", "")
_ALONE: Final = (r"((?<![^\W_]))", r"(?![^\W_])")
# Behind the word for it, and as the whole value of a parameter of a URL. The other places are those of
# `_patterns`, which need not know the secret.
_IN_PLACE: Final = (
    r"""((?i:\b(?:key|token|secret|password|passphrase|bearer|basic)\s+['"]?)|[?&][\w.-]+=)""",
    r"""(?=$|[\s"'&#,;.:)\]}])""",
)


def _patterns_of(secrets: Iterable[str]) -> Iterator[re.Pattern[str]]:
    """Return what finds known secrets: anywhere, by themselves, or in their places; group 1 stays."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for secret in sorted(secrets, key=len, reverse=True):
        is_word = len(secret) < SHORTEST or secret.isalpha() or secret.isdecimal()
        kind = _ANYWHERE if len(secret) >= TELLING else _IN_PLACE if is_word else _ALONE
        kinds.setdefault(kind, []).append(re.escape(secret))
    for (before, behind), its in kinds.items():
        yield re.compile(f"{before}(?:{'|'.join(its)}){behind}")


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
        secrets: what is known to be secret, quoted for a URL too. It is found wherever it stands if it has
            12 letters; if it has four, and is no mere word or number (``k-3f9a``), where no letter or digit
            touches it. Another (``test``, ``massive``) only where keys and passwords stand: it would take
            the word out of every line, and tell by that what the secret is.
    """

    def __init__(self, *secrets: Secret | str) -> None:
        super().__init__()
        self._known: tuple[re.Pattern[str], ...] = ()
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
        self._known = tuple(_patterns_of(sorted(filter(None, self._forms))))

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
        for name in sorted(record.__dict__.keys() - _RECORD):
            record.__dict__[name] = self.clean_value(record.__dict__[name], name)
        return True

    def clean(self, text: str) -> str:
        """Return a text without secrets, those that are known and those that look like one."""
        for pattern in self._known:
            text = pattern.sub(rf"\1{MASK}", text)
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
