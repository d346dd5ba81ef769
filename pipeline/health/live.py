"""The live page and what it asks for, as routes: the history, the events in words, the leading tickers."""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse, Response

from pipeline.shown import json_line

from .history import Events, History, HistoryAnswer
from .leaders import Tickers

__all__ = ["json_answer", "make_live_router"]

_PAGE: Final = Path(str(files("pipeline.health"))) / "page"
_PLOTLY: Final = Path(str(files("plotly"))) / "package_data" / "plotly.min.js"
_ASSETS: Final[Mapping[str, Path]] = {
    "page.css": _PAGE / "page.css",
    "page.js": _PAGE / "page.js",
    "draw.js": _PAGE / "draw.js",
    "way.js": _PAGE / "way.js",
    "words.js": _PAGE / "words.js",
    "server.js": _PAGE / "server.js",
    f"plotly-{version('plotly')}.js": _PLOTLY,
}
_HEADERS: Final = {
    # Nothing may be loaded from, or told to, anybody else. The chart sets its styles itself.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def make_live_router(history: History) -> APIRouter:
    """Return the routes of the page, and of what it shows as JSON; they run on the server's thread.

    Args:
        history: is read, and started and closed by somebody else.
    """
    router = APIRouter(tags=["live"])
    page = (_PAGE / "index.html").read_text().replace("PLOTLY_VERSION", version("plotly"))

    @router.get("/", include_in_schema=False)
    async def show() -> Response:
        """Give the page itself."""
        return Response(page, media_type="text/html", headers=_HEADERS)

    @router.get("/page/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        """Give a script or a style sheet of the page."""
        path = _ASSETS.get(name)
        if path is None:
            raise HTTPException(404, f"the page has no {name}")
        return FileResponse(path, headers=_HEADERS)

    @router.get("/api/history", response_model=HistoryAnswer)
    async def tell_history(
        after_ns: Annotated[int, Query(ge=0, description="Only points after this moment, ns.")] = 0,
    ) -> Response:
        """Return what is now, at most a second old, and the last five minutes, a point a second."""
        return json_answer(history.answer(after_ns))

    @router.get("/api/events", response_model=Events)
    async def tell_events(
        after: Annotated[int, Query(ge=0, description="Only events with a greater number.")] = 0,
    ) -> Response:
        """Return the newest 200 status events in words, the newest last."""
        return json_answer(history.events(after))

    @router.get("/api/tickers", response_model=Tickers)
    def tell_tickers() -> Response:
        """Return the 20 busiest and the 20 slowest tickers."""
        return json_answer(history.leaders.read())

    return router


def json_answer(value: Any, status: int = 200) -> Response:
    """Encode as it is: these answers are ours, and looking at each value again would cost the stream."""
    return Response(json_line(value), status, media_type="application/json")
