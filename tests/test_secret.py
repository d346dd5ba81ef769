import copy
import logging
import pickle
import traceback

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.secret import MASK, Secret, mask_url

KEY = "k3y-that-nobody-may-see"


@pytest.mark.parametrize(
    "show",
    [repr, str, format, lambda s: f"{s:>10}", lambda s: f"{s!r}", lambda s: str([s]), lambda s: "%s" % s],  # noqa: UP031  # the old way of formatting is what is tested
)
def test_shows_as_mask(show):
    """A key would stand in somebody's log, f-string or list repr."""
    assert show(Secret(KEY)).strip("[] ") == MASK


def test_stays_out_of_log_and_traceback(caplog):
    """A key would stand in a bug report."""
    secret = Secret(KEY)
    with caplog.at_level(logging.INFO):
        logging.getLogger(__name__).info("key %s", secret)
    shown = "".join(traceback.format_exception(ValueError(secret)))
    assert KEY not in caplog.text + shown


def test_is_neither_pickled_nor_encoded():
    """A key would travel to a file or another process without anybody asking for it."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret(KEY))
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret(KEY))


def test_reveals_compares_and_copies():
    """The connection could not send the key, and frozen settings could not be compared or copied."""
    secret = Secret(KEY)
    assert secret.reveal() == KEY
    assert secret == Secret(KEY)
    assert secret != Secret("other")
    assert secret != KEY
    assert hash(secret) == hash(Secret(KEY))
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    assert secret
    assert not Secret()


@given(st.text(st.characters(categories=["L", "N"]), min_size=5))
def test_password_and_query_of_a_url_are_masked(password):
    """`tickbraid check` would show the password of Redis."""
    shown = mask_url(f"redis://user:{password}@host.example:6379/0?secret={password}#{password}")
    assert shown == f"redis://{MASK}@host.example:6379/0"


@given(st.text("abc:@/?#&=%[]", max_size=12), st.sampled_from(["", "/0", "/0?password=Q9Q&x=1", "#Q9Q"]))
def test_no_password_is_ever_shown(filling, end):
    """A password may hold what separates the parts of a URL; a health page would show the rest of it."""
    masked = mask_url(f"redis://user{filling}:Q9Q{filling}@host:6379{end}")
    assert "Q9Q" not in masked
    assert masked.startswith("redis://***@")


@pytest.mark.parametrize("url", ["user:pw@host", "pw@host/x", "host:6379", ""])
def test_what_is_no_url_is_masked_whole(url):
    """What cannot be taken apart cannot be masked in part."""
    assert mask_url(url) == MASK


def test_url_without_secrets_is_shown_as_it_is():
    """A user could not tell which address is meant."""
    assert mask_url("wss://socket.massive.com/stocks") == "wss://socket.massive.com/stocks"
    assert mask_url("rediss://host:6379/2?ssl_cert_reqs=none") == "rediss://host:6379/2"
    assert mask_url("unix:///run/redis.sock") == "unix:///run/redis.sock"
