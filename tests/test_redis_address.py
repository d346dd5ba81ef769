"""What is said of an address, held against where redis-py would connect."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.connection import parse_url

from pipeline.redis_address import fault_of
from pipeline.setting_kinds import REDIS_ADDRESS, Misfit

SECRET = "s3cretive"


@pytest.mark.parametrize("letter", "#?/[]\t\n")
@pytest.mark.parametrize("user", ["", "writer", "u"])
def test_a_letter_that_ends_an_address_is_named_with_what_to_write(letter, user):
    """One would be told that redis:// is no redis://, or ticks go to a host called like the password."""
    with pytest.raises(Misfit) as misfit:
        REDIS_ADDRESS.read(f"redis://{user}:{SECRET}{letter}ss@h:6379/0")
    assert repr(letter)[1:-1] in misfit.value.got
    assert quote(letter, safe="") in misfit.value.expected
    assert SECRET not in f"{misfit.value.got}{misfit.value.expected}"


@given(
    password=st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12),
    user=st.sampled_from(["", "u"]),
)
@example(password="12/34", user="u")
@example(password="12?34=1", user="u")
@example(password="p@ss", user="")
@example(password="pa ss", user="")
def test_what_passes_connects_with_that_password_and_the_rest_is_told_without_it(password, user):
    """A password that another program takes would be cut off in silence, or be shown in the message."""
    url = f"redis://{user}:{password}@cache.example:6379/3"
    fault = fault_of(url)
    if fault is None:
        found = parse_url(url)
        assert (found["host"], found["port"], found["db"]) == ("cache.example", 6379, 3)
        assert found["password"] in {password, password.strip()} or "%" in password
    elif len(password) > 3:
        assert password not in f"{fault.got}{fault.expected}"
    assert fault_of(f"redis://{user}:{quote(password, safe='')}@cache.example:6379/3") is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://h:6379/0?foo=bar", "the option foo"),
        ("redis://h:6379/0?db=two", "the option db"),
        ("redis://h:6379/0?protocol=7", "the option protocol"),
        ("redis://h:6379/0?socket_timeout=soon", "the option socket_timeout"),
        (f"redis://:{SECRET}?x={SECRET}@h", "port"),
        (f"redis://12?x{SECRET}=1@h", "an option"),
        ("redis://h:99999", "port"),
        ("redis://h/cache", "a path that is no number"),
        (f"redis://:{SECRET}", "port"),
        (f"http://:{SECRET}@h", "http://"),
        (SECRET, "no address"),
    ],
)
def test_what_redis_py_refuses_or_leaves_out_is_told(url, words):
    """`check` would say that all is well, and `run` end with a message about something else."""
    fault = fault_of(url)
    assert words in fault.got
    assert SECRET not in f"{fault.got}{fault.expected}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://[::1]:6379/0",
        "redis://u:p@[::1]:6379/0",
        "rediss://h:1/2?ssl_cert_reqs=none",
        "redis://u:p@h/0?client_name=a@b&socket_timeout=3",
        "unix:///run/redis.sock?db=2",
        "unix://:p%2Fw@/run/redis.sock",
    ],
)
def test_what_redis_py_takes_passes(url):
    """A set-up that works would be refused."""
    assert fault_of(url) is None
