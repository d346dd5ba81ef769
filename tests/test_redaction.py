import json
import logging
import string
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import RedactingFilter
from pipeline.redaction import redact
from pipeline.secret import MASK, Secret

KEY = "k-3f9a-hunter2"
words = st.text(string.ascii_letters + string.digits + "-_.~+/", min_size=8, max_size=40)
anything = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=4, max_size=40)


@pytest.mark.parametrize(
    "template",
    [
        "cannot connect to redis://{}@host:6379/0",
        "cannot connect to rediss://user:{}@host:6379/0, again",
        "GET /v3?apiKey={}&limit=10",
        "MASSIVE_API_KEY={}",
        "{{'password': '{}', 'host': 'h'}}",
        '{{"http_token": "{}"}}',
        'sent {{"action":"auth","params":"{}"}}',
        'sent b\'{{"action":"auth","params":"{}"}}\'',
        "Authorization: Bearer {}",
        "{{'Authorization': 'Basic {}'}}",
        "[('authorization', 'Bearer {}')]",
        "refused: bearer {}",
    ],
)
@given(secret=words)
@settings(max_examples=30)
def test_what_looks_like_a_secret_is_taken_out_unknown_as_it_is(template, secret):
    """A library that logs a URL, a header or a request would put the key of the account into the log."""
    secret = f"Zq{secret}"  # so that it is in no template
    assert secret not in redact(template.format(secret))
    assert MASK in redact(template.format(secret))


@pytest.mark.parametrize(
    "text",
    [
        "connected to wss://socket.massive.com/stocks",
        'connection_1: rejected as malformed (3 so far), for example b\'{"ev":"T","sym":"KEY"}\'',
        "disconnected: authentication failed",
        "ticks come from user@host",
        "the keys of tech_leaders: AAPL, MSFT",
    ],
)
def test_innocent_lines_stay_as_they_are(text):
    """A log full of asterisks is no log."""
    assert redact(text) == text


def test_a_long_line_takes_no_time():
    """A pattern that looks at each place again and again would stop the stream for a long message."""
    for piece in ("a.", "api-", "://", "password", "authorization ", "\\", '"auth",'):
        assert redact(piece * 30_000) is not None  # the time-out of the test is the limit


telling = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=12, max_size=40),
    st.text(string.ascii_lowercase, min_size=12, max_size=40),
)


@given(secret=telling, before=anything, after=anything)
@settings(max_examples=60)
def test_a_known_secret_is_taken_out_wherever_it_stands(secret, before, after):
    """A password of odd characters would be in the log, as it is, in a repr or quoted for a URL."""
    hide = RedactingFilter(Secret(secret))
    for form in (secret, quote(secret, safe=""), repr(secret)[1:-1]):
        assert form not in hide.clean(f"{before}{form}{after}").replace(MASK, "\0")


@given(
    secret=st.from_regex(r"[a-z]{2,5}[-_.]?[0-9]{2,5}", fullmatch=True),
    before=st.sampled_from(["", " ", "'", '"', "(", "/", "=", ": "]),
    after=st.sampled_from(["", " ", "'", ".", ")", "/", ",", "@"]),
)
def test_a_short_secret_is_taken_out_where_it_stands_alone(secret, before, after):
    """A short password would be in the log as soon as a server quotes it."""
    assert secret not in RedactingFilter(secret).clean(f"x{before or ' '}{secret}{after}")


WORDS = """ticks from massive test connected to wss://socket.massive.com/stocks/test 1 connection, 2026 token
tests attest a T.TEST any demo demos live alive: {'connection': 'any', 'count': 12, 'event': 'Massive'}"""
LINES = [
    *WORDS.splitlines(),
    "connection_1: 12 channels confirmed (test), any of 2026",
    'rejected, for example b\'{"ev":"T","sym":"test","p":12}\'',
    "universe=any, test=2026",
]
word = st.one_of(
    st.sampled_from(["test", "a", "massive", "any", "demo", "live", "12", "2026", "key", "", "token", "T"]),
    st.from_regex(r"[a-z]{1,11}|[0-9]{1,11}", fullmatch=True),
)


@given(secret=word)
def test_a_secret_that_is_a_word_takes_the_word_from_no_line(secret):
    """With the key "test" or "a" every line would be asterisks, and tell by that what the key is."""
    hide = RedactingFilter(secret, f"redis://{secret}:{secret}@h:6379/0")
    for line in LINES:
        assert hide.clean(line) == line


@pytest.mark.parametrize("secret", ["test", "a", "massive", "12", "demo"])
@pytest.mark.parametrize(
    "template",
    [
        "GET https://api.massive.com/v3/trades?limit=10&apiKey={}",
        "GET https://api.massive.com/v3/trades?k={}&limit=10",
        "wss://h/stocks?x={}",
        "redis://:{}@h:6379/0",
        'sent {{"action":"auth","params":"{}"}}',
        "Authorization: Bearer {}",
        "refused: bearer {}",
        "MASSIVE_API_KEY={}",
        "invalid password '{}'",
        "unknown API key {}.",
        "password: {}",
    ],
)
def test_a_secret_that_is_a_word_is_taken_out_where_secrets_stand(secret, template):
    """The key would be in a URL, a header or a server's answer all the same."""
    before, after = template.replace("{{", "{").replace("}}", "}").split("{}", 1)
    clean = RedactingFilter(secret).clean(before + secret + after)
    assert MASK in clean
    assert not clean.endswith(secret + after)


def test_the_password_of_an_address_is_known_without_the_address():
    """The server may say: invalid password hunter2."""
    hide = RedactingFilter(Secret(f"redis://user:{quote(KEY + '@')}@host/0"))
    assert hide.clean(f"invalid: {KEY}@") == f"invalid: {MASK}"
    assert RedactingFilter("ab").clean("about") == "about", "too short to be told from a word"


def record(message, *args, **more):
    """Make a record."""
    made = logging.LogRecord("tickbraid.x", logging.ERROR, "x.py", 1, message, args, None)
    made.__dict__.update(more)
    return made


def shown(made):
    """Return all that anybody could write of it."""
    return logging.Formatter("%(message)s").format(made) + json.dumps(made.__dict__, default=repr)


@pytest.mark.parametrize(
    "made",
    [
        record("password=%s", "Zq1"),
        record("headers %r", {"Authorization": "Bearer Zq1"}),
        record("%s", ValueError("redis://u:Zq1@h")),
        record("two %s %s password=Zq1", 1),
        record("done", stack_info="Stack: api_key='Zq1'"),
        record("done", exc_text="ValueError: api_key='Zq1'"),
        record("done", url="redis://:Zq1@h/0"),
        record("done", api_key="Zq1"),
        record("done", request={"headers": [{"token": "Zq1"}], "urls": ("redis://:Zq1@h",)}),
        record("done", cause=ValueError("password=Zq1")),
    ],
)
def test_no_part_of_a_record_keeps_a_secret(made):
    """Structured logging writes arguments and extra too, and another handler may come after ours."""
    assert RedactingFilter().filter(made)
    assert "Zq1" not in shown(made)
    assert MASK in shown(made)


def test_a_traceback_is_cleaned_its_causes_too():
    """What redis-py raises has the URL in it, three exceptions down."""
    try:
        try:
            raise ConnectionError("redis://:Zq1@h")  # noqa: TRY301  # as redis-py does
        except ConnectionError as error:
            raise RuntimeError("no Redis") from error
    except RuntimeError as error:
        made = record("it failed", exc_info=(type(error), error, error.__traceback__))
    RedactingFilter().filter(made)
    text = logging.Formatter().format(made)
    assert "Zq1" not in text, "not in the source lines either"
    assert f"ConnectionError: redis://{MASK}@h" in text
    assert made.exc_info is None, "a handler of its own formatting would show it"


def test_a_record_without_secrets_is_left_alone():
    """Collectors group by the message without its arguments."""
    made = record("%s ticks of %s", 5, "AAPL", count=5, wait=None, flag=True)
    before = dict(made.__dict__)
    RedactingFilter("long enough").filter(made)
    assert made.__dict__ == before
