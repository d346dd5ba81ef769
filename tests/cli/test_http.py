import json
import signal
import socket

import httpx

from tests.cli.conftest import DEADLINE_S
from tests.conftest import wait_until


def test_it_says_where_it_listens_and_ends_with_a_client(start):
    """An operator would not know where to look, or a page that is open keep the service from stopping."""
    running = start("run", "--http", "--log-format", "json", HTTP_PORT="0", SYNTHETIC_UPDATE_INTERVAL="0.1")

    def events():
        return [json.loads(line) for line in list(running.err) if line.startswith("{")]

    (serving,) = wait_until(
        lambda: [event for event in events() if event["event"] == "Serving"], DEADLINE_S, "the address"
    )
    with httpx.Client(base_url=serving["url"]) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, DEADLINE_S, "being ready")
        assert "tickbraid_build_info" in client.get("/metrics").text
        running.process.send_signal(signal.SIGTERM)
        code, _, err = running.wait()
    assert code == 0
    assert "Traceback" not in err


def test_a_port_in_use_is_one_sentence(start):
    """A second instance would run unseen, or end with a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = start("run", "--http", HTTP_PORT=str(port)).wait()
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"  - HTTP_PORT (environment): the HTTP interface cannot listen on http://127.0.0.1:{port}:"
        " Address already in use; see HTTP_HOST and HTTP_PORT"
    )
