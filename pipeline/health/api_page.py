"""A page that lists the routes of the API, from its OpenAPI; it needs nothing from the internet."""

from collections.abc import Iterator
from html import escape
from typing import Any, Final

__all__ = ["api_page"]

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Tickbraid API</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
  td, th {{ padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }}
  code {{ font: 13px ui-monospace, monospace; overflow-wrap: anywhere }}
</style>
<h1>Tickbraid API</h1>
{description}
<p>Every field is described in <a href="{openapi}">OpenAPI</a>.</p>
<table><tr><th>Route<th>What it does<th>Answers
{rows}
</table>
"""


def api_page(openapi: dict[str, Any], url: str) -> str:
    """Return HTML.

    Args:
        openapi: the description of the API.
        url: where it is found.
    """
    paragraphs = escape(openapi["info"]["description"]).strip().split("\n\n")
    return _PAGE.format(
        description="".join(f"<p>{words}</p>" for words in paragraphs),
        openapi=escape(url),
        rows="\n".join(_rows(openapi["paths"])),
    )


def _rows(paths: dict[str, dict[str, Any]]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, route in methods.items():
            name = f"{method.upper()} {path}"
            codes = ", ".join(code for code in route["responses"] if code != "default")
            yield f"<tr><td><code>{escape(name)}</code><td>{escape(route['description'])}<td>{codes}"
