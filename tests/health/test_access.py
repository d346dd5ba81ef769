import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from pipeline.health.access import Access, is_loopback
from pipeline.secret import Secret

TOKEN = "t0ken-of-the-test"
OURS = "127.0.0.1:8420"
READ = ("GET", "/api/health")
CHANGE = ("POST", "/api/websocket/rebalance")


def ask(bound, token, method, path, **headers):
    """Return the status of the refusal, None if there is none."""
    asked = Headers({"host": OURS} | {name.replace("_", "-"): value for name, value in headers.items()})
    refusal = Access(bound, Secret(token)).refusal(method, path, asked)
    return refusal and refusal.status


def basic(password):
    """Return what a browser sends after its prompt."""
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("host", "token", "reads", "changes"),
    [
        ("127.0.0.1", "", None, None),
        ("::1", "", None, None),
        ("localhost", TOKEN, None, 401),
        ("0.0.0.0", "", None, 403),  # noqa: S104  # this is what is tested
        ("192.0.2.7", TOKEN, 401, 401),
    ],
)
def test_who_shows_no_token_may_do_what_the_table_says(host, token, reads, changes):
    """A stranger in the network could reconnect somebody's feed, or an operator not read his own metrics."""
    assert ask(host, token, *READ) == reads
    assert ask(host, token, *CHANGE) == changes
    assert ask(host, token, "GET", "/livez") is ask(host, token, "GET", "/readyz") is None
    assert ask(host, token, *READ, authorization=f"Bearer {TOKEN}") is None
    assert ask(host, token, *READ, authorization="Bearer wrong") == reads
    assert ask(host, token, *CHANGE, authorization="Bearer wrong") == changes
    if token:
        assert ask(host, token, *CHANGE, authorization=f"bearer {TOKEN}", host="any.example") is None
        assert ask(host, token, *READ, authorization=basic(TOKEN)) is None
        assert ask(host, token, *READ, authorization=basic("wrong")) == reads
        # A browser sends the password it knows by itself, for whatever page asks.
        assert ask(host, token, *CHANGE, authorization=basic(TOKEN)) == changes


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "", "[::1", "evil@127.0.0.1", "a/b"],
)
@pytest.mark.parametrize(("bound", "token"), [("127.0.0.1", ""), ("127.0.0.1", TOKEN), ("0.0.0.0", "")])  # noqa: S104
def test_a_page_rebound_by_dns_reads_nothing(bound, token, host):
    """A web page whose name was pointed to 127.0.0.1 could read what only this machine may."""
    assert ask(bound, token, *READ, host=host) == 421
    for made_up in ("Bearer x", f"Basic {TOKEN}", basic("x")):
        assert ask(bound, token, *READ, host=host, authorization=made_up) == 421
        assert ask(bound, token, *CHANGE, host=host, authorization=made_up) == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST:1", "[::1]:8420", "10.1.2.3:80", "Feed.example."])
def test_our_names_are_ours(host):
    """An operator could not reach what he bound to a name or an address."""
    assert ask("feed.example", "", *READ, host=host) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"sec_fetch_site": "cross-site", "origin": f"http://{OURS}"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(headers):
    """A web page in the operator's browser could send his connections away."""
    assert ask("127.0.0.1", "", *CHANGE, **headers) == 403
    assert ask("127.0.0.1", "", "GET", "/socket", upgrade="websocket", **headers) == 403


@pytest.mark.parametrize("headers", [{"origin": f"http://{OURS}"}, {"sec_fetch_site": "same-origin"}, {}])
def test_our_own_page_and_curl_may(headers):
    """The buttons of the live page, or a script, would do nothing."""
    assert ask("127.0.0.1", "", *CHANGE, **headers) is None


def test_two_host_headers_are_one_too_many():
    """A proxy and we could each believe another one."""
    headers = Headers(raw=[(b"host", b"127.0.0.1"), (b"host", b"evil.example")])
    assert Access("127.0.0.1", Secret()).refusal(*READ, headers).status == 421


@given(st.text(max_size=40), st.text(max_size=40).filter(lambda text: "\0" not in text))
def test_nothing_but_the_token_is_the_token(token, given_token):
    """Whatever is sent, only the whole token opens; and no text may break the comparison."""
    opens = Access("192.0.2.7", Secret(token)).may_change(given_token)
    assert opens == (bool(token) and token == given_token)


@given(st.text(st.characters(max_codepoint=255), max_size=40), st.sampled_from(["Basic ", "Bearer ", ""]))
def test_no_header_breaks_the_gate(value, scheme):
    """A request with garbage for credentials would be answered with a traceback."""
    assert ask("192.0.2.7", TOKEN, *READ, authorization=scheme + value) in {401, None}
    assert ask("127.0.0.1", "", *READ, host=value) in {421, None}


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((local, True) for local in ("127.0.0.1", "127.9.9.9", "::1", "localhost")),
        *((open_to_all, False) for open_to_all in ("0.0.0.0", "::", "feed.example", "")),  # noqa: S104
    ],
)
def test_loopback_is_told_from_all_else(host, local):
    """What anybody reaches would be taken for private."""
    assert is_loopback(host) is local
