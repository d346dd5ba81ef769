"""The HTTP API of a stream; needs the extra ``web``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio.to_thread
from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException

import pipeline
from pipeline.stream import TickStream

from . import answers
from .access import Access, Guard, problem_response
from .api_page import api_page
from .history import History
from .live import json_answer, make_live_router
from .snapshot import ConnectionHealth, Health

if TYPE_CHECKING:
    from .metrics import Exposition

__all__ = ["make_app"]

THREADS: Final = 8
"""Requests answered at a time; more of them wait."""
DESCRIPTION: Final = """\
How a tick stream is doing, and what can be done about it.

Whatever changes something wants `Authorization: Bearer` with the token of HTTP_TOKEN; on loopback it is free
where no token is set. Off loopback reading wants the token too, where one is set. Errors are
`application/problem+json`.
"""


def make_app(stream: TickStream, *, access: Access | None = None) -> FastAPI:
    """Return the ASGI application that shows a stream; it neither starts nor closes the stream.

    Routes run on up to 8 threads of the server's.

    Args:
        stream: what is shown.
        access: who may do what; default as HTTP_HOST and HTTP_TOKEN say.
    """
    settings = stream.settings
    history = History(stream)
    exposition = answers.exposition(stream)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        history.start()
        yield
        history.close()
        exposition.close()

    app = FastAPI(
        title="Tickbraid",
        version=pipeline.__version__,
        description=DESCRIPTION,
        openapi_url="/api/openapi.json",
        # Both pages come from a CDN; /api has one of ours.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={"default": _problem_answer("Anything else that went wrong")},
    )
    _add_probes(app, stream)
    _add_metrics(app, exposition)
    _add_reads(app, stream)
    _add_orders(app, stream)
    app.include_router(make_live_router(history))
    _add_problems(app)
    app.add_middleware(Guard, access=access or Access(settings.http_host, settings.http_token))
    return app


_Name = Annotated[str, Path(description="id of the connection", examples=["connection_1"])]
_Verbose = Annotated[str | None, Query(description="tell each check; needs no value")]


def _problem_answer(description: str) -> dict[str, Any]:
    schema = TypeAdapter(answers.Problem).json_schema()
    return {"description": description, "content": {answers.PROBLEM_JSON: {"schema": schema}}}


_CLOSED: Final[dict[int | str, Any]] = {409: _problem_answer("The stream is not running")}
_UNKNOWN: Final[dict[int | str, Any]] = {404: _problem_answer("No such connection")}


def _add_probes(app: FastAPI, stream: TickStream) -> None:
    @app.get("/livez", tags=["probes"], response_model=answers.Live, responses={503: {"model": answers.Live}})
    def livez() -> Response:
        """Tell whether the process turns: restart it if not. Nothing outside of it is looked at."""
        answer = answers.livez(stream)
        return json_answer(answer, 200 if answer.ok else 503)

    @app.get(
        "/readyz", tags=["probes"], response_model=answers.Ready, responses={503: {"model": answers.Ready}}
    )
    def readyz(verbose: _Verbose = None) -> Response:
        """Tell whether ticks can come and go: a connection authenticated and fresh, every sink writable."""
        answer = answers.readyz(stream, verbose=verbose is not None)
        return json_answer(answer, 200 if answer.ok else 503)


def _add_metrics(app: FastAPI, exposition: "Exposition | answers.NotInstalled") -> None:
    text = {"schema": {"type": "string"}}
    formats = {"text/plain": text, "application/openmetrics-text": text}

    responses: dict[int | str, Any] = {
        200: {"content": formats},
        501: _problem_answer("prometheus_client is not installed"),
    }

    @app.get("/metrics", tags=["probes"], response_class=Response, responses=responses)
    def metrics(accept: Annotated[str, Header(description="OpenMetrics, or plain text")] = "") -> Response:
        """Return all metrics for Prometheus: ``tickbraid_…`` of the stream, ``process_…`` of the process."""
        body, content_type = exposition.write(accept)
        return Response(body, headers={"content-type": content_type})

    @app.get("/api", include_in_schema=False, response_class=HTMLResponse)
    def routes() -> str:
        """Return a page that lists the routes."""
        return api_page(app.openapi(), app.openapi_url or "")


def _add_reads(app: FastAPI, stream: TickStream) -> None:
    @app.get("/api/health", tags=["reading"], response_model=Health)
    def health() -> Response:
        """Return everything that is known about the stream at once."""
        return json_answer(answers.health(stream))

    @app.get("/api/websocket/connections", tags=["reading"], response_model=answers.Connections)
    def connections() -> Response:
        """Return all connections and their totals."""
        return json_answer(answers.connections(stream))

    @app.get(
        "/api/websocket/connections/{name}",
        tags=["reading"],
        response_model=ConnectionHealth,
        responses=_UNKNOWN | _CLOSED,
    )
    def connection(name: _Name) -> Response:
        """Return one connection."""
        return json_answer(answers.connection(stream, name))

    @app.get(
        "/api/websocket/connections/{name}/tickers",
        tags=["reading"],
        response_model=answers.CarriedTickers,
        responses=_UNKNOWN | _CLOSED,
    )
    def tickers(name: _Name) -> Response:
        """Return what a connection is to carry."""
        return json_answer(answers.tickers(stream, name))

    @app.get("/api/account", tags=["reading"], response_model=answers.Accounts)
    def account() -> Response:
        """Return where every element is: delivered, deduplicated, dropped, failed, rejected or queued."""
        return json_answer(answers.account(stream))


def _add_orders(app: FastAPI, stream: TickStream) -> None:
    refused: dict[int | str, Any] = {
        401: _problem_answer("The bearer token is missing or wrong"),
        403: _problem_answer("Not from another site's page, nor from another machine without HTTP_TOKEN"),
    }

    @app.post(
        "/api/websocket/rebalance",
        tags=["changing"],
        response_model=answers.Rebalanced,
        responses=refused | _CLOSED,
    )
    def rebalance() -> Response:
        """Spread the tickers over the connections by what is measured now, and return what moved."""
        return json_answer(answers.rebalance(stream))

    @app.post(
        "/api/websocket/connections/{name}/reconnect",
        tags=["changing"],
        status_code=202,
        response_model=answers.Reconnecting,
        responses=refused | _UNKNOWN | _CLOSED,
    )
    def reconnect(name: _Name) -> Response:
        """Have a connection end its session and begin another; one that was evicted tries now."""
        return json_answer(answers.reconnect(stream, name), 202)


def _add_problems(app: FastAPI) -> None:
    def of_stream(status: int, title: str, _request: Request, error: Exception) -> Response:
        return problem_response(status, title, str(error))

    def of_http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  # for the type checker; it is registered for it
        title = HTTPStatus(error.status_code).phrase
        return problem_response(
            error.status_code, title, f"{error.detail}; /api lists what there is.", error.headers
        )

    def of_request(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101  # as above
        words = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return problem_response(422, "Not understood", words)

    def of_us(_request: Request, _error: Exception) -> Response:
        return problem_response(500, "A defect", "The request could not be answered; the log says why.")

    for kind, (status, title) in answers.PROBLEMS.items():
        app.add_exception_handler(kind, partial(of_stream, status, title))
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, of_request)
    app.add_exception_handler(Exception, of_us)
