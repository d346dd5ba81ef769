import threading

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from pipeline import build_pipeline
from pipeline.health import answers
from pipeline.health.server import HttpServer
from pipeline.sinks.callback import CallbackSink
from tests.conftest import wait_until
from tests.health.conftest import HOMES, PASSWORD, TOKEN
from tests.integration.harness import KEY, Gate, Run, config_for

CONNECTIONS = "/api/websocket/connections"


def test_every_answer_is_as_the_openapi_says(running):
    """A client that was generated from the description would fail on the first answer, or get a 500."""
    _, client = running
    description = schemathesis.openapi.from_url(str(client.base_url.join("/api/openapi.json")))
    operations = [found.ok() for found in description.get_all_operations()]
    assert len(operations) > 9
    for operation in operations:  # schemathesis's own parametrize does not go with this pytest

        @settings(max_examples=4, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case):
            case.call_and_validate(timeout=10)

        check()


@pytest.mark.parametrize(
    ("path", "look"),
    [
        ("/livez", lambda a: a == {"ok": True, "reasons": []}),
        ("/readyz", lambda a: a == {"ok": True, "reasons": [], "checks": None}),
        ("/readyz?verbose", lambda a: [check["name"] for check in a["checks"]] == ["stream", "connections"]),
        ("/api/health", lambda a: a["state"] == "running" and set(a["subscribers"]) == {"callback"}),
        (CONNECTIONS, lambda a: [c["id"] for c in a["connections"]] == list(HOMES)),
        (f"{CONNECTIONS}/connection_2", lambda a: (a["phase"], a["tickers"]) == ("live", 2)),
        (f"{CONNECTIONS}/connection_2/tickers", lambda a: a["tickers"] == list(HOMES["connection_2"])),
        ("/api/account", lambda a: a["balanced"] and a["subscribers"]["callback"]["total"]["received"] > 0),
    ],
)
def test_what_is_read_is_what_the_stream_says(running, path, look):
    """An operator would look at figures that are nobody's."""
    run, client = running
    wait_until(lambda: run.count)
    answer = client.get(path)
    assert answer.status_code == 200
    assert look(answer.json()), answer.text


def test_a_connection_can_be_made_anew(running):
    """The operator's last resort for a connection that behaves strangely would do nothing."""
    _, client = running
    before = client.get(f"{CONNECTIONS}/connection_1").json()["connects"]
    answer = client.post(f"{CONNECTIONS}/connection_1/reconnect")
    assert (answer.status_code, answer.json()) == (202, {"connection": "connection_1"})
    wait_until(lambda: client.get(f"{CONNECTIONS}/connection_1").json()["reconnects"] == before)


def test_a_rebalance_tells_what_moved(running):
    """Who asked for it would not know whether anything came of it."""
    run, client = running
    run.stream.move_ticker("AAPL", "connection_2")
    wait_until(lambda: "AAPL" in run.stream.tickers()["connection_2"])
    answer = client.post("/api/websocket/rebalance")
    assert answer.status_code == 200
    moved = answer.json()["moved"]
    assert answer.json()["count"] == sum(len(each["tickers"]) for each in moved)


def test_what_cannot_be_is_a_problem_in_one_sentence(running):
    """A script would have to guess what was wrong, and a person to read a traceback."""
    _, client = running
    answer = client.get(f"{CONNECTIONS}/connection_9")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "No such connection",
        "status": 404,
        "detail": "There is no connection 'connection_9'; there are connection_1, connection_2.",
    }
    for method, path, status in (
        ("POST", f"{CONNECTIONS}/connection_9/reconnect", 404),
        ("GET", f"{CONNECTIONS}/connection_9/tickers", 404),
        ("GET", "/nothing", 404),
        ("DELETE", "/api/account", 405),
        ("GET", "/api/history?after_ns=x", 422),
    ):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["status"]) == (status, status), path
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_stream_that_does_not_run_says_so():
    """A probe would restart what nobody has subscribed to yet, or a script believe that it moved."""
    with (
        build_pipeline({"HTTP_PORT": 0}) as stream,
        HttpServer(stream) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert client.get("/livez").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["reasons"] == ["the stream is idle", "there is no connection"]
        for method, path in (
            ("GET", f"{CONNECTIONS}/connection_1"),
            ("GET", f"{CONNECTIONS}/connection_1/tickers"),
            ("POST", f"{CONNECTIONS}/connection_1/reconnect"),
            ("POST", "/api/websocket/rebalance"),
        ):
            assert client.request(method, path).status_code == 409, path
        stream.close()
        assert client.get("/api/health").json()["state"] == "closed"
        assert client.get("/metrics").status_code == 200


def test_a_sink_may_tell_whatever_it_likes():
    """One object in the figures of a user's sink would take the whole answer with it."""

    class Odd(CallbackSink):
        def snapshot(self):
            return {"seen": Odd, "state": "up", "at": (1, None)}

    with build_pipeline({"HTTP_PORT": 0}) as stream, HttpServer(stream) as server:
        stream.attach(Odd(print, "odd"))
        told = httpx.get(f"{server.url}/api/health").json()["subscribers"]["odd"]["sink"]
        assert told == {"seen": repr(Odd), "state": "up", "at": [1, None]}


def test_it_is_ready_again_when_a_connection_is_back(simulator):
    """Traffic would be sent to an instance without ticks, or kept from one that has them."""
    gate = Gate(simulator.port)
    config = config_for(simulator, ["AAPL"], MASSIVE_WEBSOCKET_URL=gate.url, HTTP_PORT=0)
    with Run(config) as run, HttpServer(run.stream) as server, httpx.Client(base_url=server.url) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        gate.shut()
        wait_until(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/livez").status_code == 200
        (reason,) = client.get("/readyz").json()["reasons"]
        assert reason.startswith("connection_1 is ")
        gate.open()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        gate.shut()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stale": True}, "a is stale"),
        ({"phase": "backing_off"}, "a is backing off"),
        ({"sink": {"state": "down"}}, "redis is down"),
        ({"sink": {"state": "stalled"}}, "redis is stalled"),
        ({"sink": {"state": "idle"}}, None),
        ({"sink": {"calls": 3}}, None),
        ({"sink": {"state": "down"}, "ended": True}, None),
    ],
)
def test_ready_means_that_ticks_can_come_and_go(changes, reason):
    """An instance whose feed is silent or whose Redis is away would be taken for well."""
    connection = {"id": "a", "phase": "live", "stale": False} | changes
    subscriber = {"sink": {"state": "up"}, "ended": False} | changes
    health = {"state": "running", "connections": [connection], "subscribers": {"redis": subscriber}}

    class Fake:
        def health(self):
            return health

    answer = answers.readyz(Fake(), verbose=True)
    assert answer.reasons == ([reason] if reason else [])
    assert answer.ok is (reason is None)


def test_a_thread_that_hangs_is_not_alive(running, monkeypatch):
    """A process that is stuck would never be restarted."""
    run, client = running
    monkeypatch.setattr(answers, "BEAT_TIMEOUT_S", 0.05)
    held, release = threading.Event(), threading.Event()

    def hang(*_):
        held.set()
        release.wait(20)

    run.stream._engine.loop.schedule(hang)
    assert held.wait(10)
    answer = client.get("/livez")
    release.set()
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the thread tickbraid-io has not answered for 0.05 s"]
    wait_until(lambda: client.get("/livez").status_code == 200)


def test_no_answer_holds_a_secret(simulator, redis_url):
    """Whoever may look at the health of a service would have its keys."""
    secrets = (KEY, PASSWORD, TOKEN)
    config = config_for(
        simulator, *HOMES.values(), HTTP_PORT=0, HTTP_TOKEN=TOKEN, REDIS_URL=redis_url, REDIS_ENABLED=True
    )
    with Run(config) as run, HttpServer(run.stream) as server, httpx.Client(base_url=server.url) as client:
        run.wait_confirmed(8)
        wait_until(lambda: run.stream.health()["subscribers"]["redis"]["sink"]["state"] == "up")
        refused = client.post(f"{CONNECTIONS}/connection_1/reconnect")
        assert refused.status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert client.post(f"{CONNECTIONS}/connection_1/reconnect", headers=bearer).status_code == 202
        paths = client.get("/api/openapi.json").json()["paths"]
        asked = [
            client.request(method, path.replace("{name}", "connection_1"), headers=bearer)
            for path, methods in paths.items()
            for method in methods
        ]
        asked += [client.get(path) for path in ("/", "/api", "/api/openapi.json", "/readyz?verbose")]
        assert len(asked) > 12
        for answer in (refused, *asked):
            assert answer.status_code < 500
            told = answer.text + str(answer.headers)
            assert not [secret for secret in secrets if secret in told], answer.url


def test_the_list_of_routes_needs_no_internet(running):
    """On a machine behind a wall the page would stay empty, or tell others who looks at it."""
    _, client = running
    page = client.get("/api").text
    assert "POST /api/websocket/rebalance" in page
    assert "http" not in page.replace("HTTP", "").replace("<!doctype html>", "")
