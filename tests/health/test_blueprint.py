import flask
import httpx
import pytest

from pipeline import build_pipeline
from pipeline.health.blueprint import make_blueprint
from pipeline.health.server import HttpServer

CONNECTIONS = "/api/websocket/connections"


@pytest.fixture
def both():
    """A running stream with a Flask app and with a server of its own; their clients."""
    with build_pipeline({"HTTP_PORT": 0, "SYNTHETIC_UPDATE_INTERVAL": 3600}) as stream:
        stream.start()
        app = flask.Flask(__name__)
        app.register_blueprint(make_blueprint(stream), url_prefix="/tickbraid")
        with HttpServer(stream) as server, httpx.Client(base_url=server.url) as client:
            yield app.test_client(), client


@pytest.mark.parametrize(
    "path",
    [
        "/livez",
        "/readyz",
        "/readyz?verbose",
        "/api/account",
        f"{CONNECTIONS}/synthetic/tickers",
        f"{CONNECTIONS}/nobody",
        f"{CONNECTIONS}/nobody/tickers",
    ],
)
def test_flask_answers_what_the_server_answers(both, path):
    """TickStock's own app would show something else than the live page beside it."""
    flasks, ours = both
    answer, expected = flasks.get(f"/tickbraid{path}"), ours.get(path)
    assert (answer.status_code, answer.content_type) == (
        expected.status_code,
        expected.headers["content-type"],
    )
    assert answer.get_json(force=True) == expected.json()


@pytest.mark.parametrize("path", ["/api/health", CONNECTIONS, f"{CONNECTIONS}/synthetic"])
def test_flask_has_all_fields(both, path):
    """As above, where figures change from one look to the next."""
    flasks, ours = both
    assert flasks.get(f"/tickbraid{path}").get_json().keys() == ours.get(path).json().keys()


def test_flask_gives_metrics_and_changes_nothing(both):
    """A page of the app could send connections away without the token."""
    flasks, _ = both
    assert b"tickbraid_build_info" in flasks.get("/tickbraid/metrics").data
    opened = flasks.get("/tickbraid/metrics", headers={"accept": "application/openmetrics-text"})
    assert opened.content_type.startswith("application/openmetrics-text")
    for path in ("/api/websocket/rebalance", f"{CONNECTIONS}/synthetic/reconnect"):
        assert flasks.post(f"/tickbraid{path}").status_code in {404, 405}


def test_a_closed_stream_is_a_conflict():
    """A look at the app while it shuts down would be a traceback."""
    app = flask.Flask(__name__)
    with build_pipeline({}) as stream:
        app.register_blueprint(make_blueprint(stream))
    answer = app.test_client().get(f"{CONNECTIONS}/synthetic")
    assert (answer.status_code, answer.content_type) == (409, "application/problem+json")
    assert app.test_client().get("/readyz").status_code == 503
