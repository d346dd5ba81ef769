"""``tickbraid report``: a capture as one page of figures, without a notebook."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="What `run --record` wrote.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page.")] = Path(
        "report.html"
    ),
    pdf: Annotated[Path | None, typer.Option(metavar="FILE", help="The same as a PDF, too.")] = None,
    png: Annotated[Path | None, typer.Option(metavar="DIR", help="And each figure as a PNG.")] = None,
) -> None:
    """Show what a capture holds: account, latencies, gaps, on one page that needs nothing but itself.

    Needs the extra ``notebook``. A capture that is empty or damaged exits with 1 and says what is wrong.
    """
    from pipeline.report import (  # noqa: PLC0415  # matplotlib and polars: only here
        examine,
        front,
        plates_of,
        write_page,
        write_pdf,
        write_pngs,
    )

    findings = examine(path)
    plates = list(plates_of(findings))
    written = [output]
    try:
        write_page(findings, plates, output)
        if pdf:
            write_pdf(plates, front(findings), pdf)
            written.append(pdf)
        if png:
            written += write_pngs(plates, png)
    except OSError as error:
        typer.echo(f"Error: cannot write {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
    typer.echo("\n".join(map(str, written)))
