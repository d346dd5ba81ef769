"""The read routes for a Flask app of your own, as TickStock's is; needs Flask and the extra ``web``.

::

    app.register_blueprint(make_blueprint(stream), url_prefix="/tickbraid")

Nothing here changes anything. Who may read is the app's to decide, as for its other routes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from pipeline.shown import json_line
from pipeline.stream import TickStream

from . import answers

__all__ = ["make_blueprint"]


def make_blueprint(stream: TickStream, name: str = "tickbraid") -> Blueprint:
    """Return ``/livez``, ``/readyz``, ``/metrics`` and what is read under ``/api``, as `make_app` has them.

    Routes run on the threads of the app's server.

    Args:
        stream: what is shown.
        name: of the blueprint; two streams in one app have two.
    """
    blueprint = Blueprint(name, __name__)
    exposition = answers.exposition(stream)

    def read(path: str, answer: Callable[..., Any]) -> None:
        def view(**arguments: str) -> Response:
            return _json(answer(stream, **arguments))

        blueprint.add_url_rule(path, answer.__name__, view)

    read("/api/health", answers.health)
    read("/api/account", answers.account)
    read("/api/websocket/connections", answers.connections)
    read("/api/websocket/connections/<name>", answers.connection)
    read("/api/websocket/connections/<name>/tickers", answers.tickers)

    @blueprint.get("/livez")
    def livez() -> Response:
        answer = answers.livez(stream)
        return _json(answer, 200 if answer.ok else 503)

    @blueprint.get("/readyz")
    def readyz() -> Response:
        answer = answers.readyz(stream, verbose="verbose" in request.args)
        return _json(answer, 200 if answer.ok else 503)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        body, content_type = exposition.write(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    for kind, (status, title) in answers.PROBLEMS.items():
        blueprint.register_error_handler(kind, partial(_problem, status, title))
    return blueprint


def _json(answer: Any, status: int = 200, kind: str = "application/json") -> Response:
    return Response(json_line(answer), status, content_type=kind)


def _problem(status: int, title: str, error: Exception) -> Response:
    return _json(answers.problem(status, title, str(error)), status, answers.PROBLEM_JSON)
