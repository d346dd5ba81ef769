"""Make a notebook of each program beside it, and run it: ``python notebooks/execute.py [NAME…]``.

The programs (``01_quickstart.py``, …) are the source; Jupyter opens either, with jupytext.
"""

import argparse
import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE: Final = Path(__file__).parent
CELL_TIMEOUT_S: Final = 60
PNG: Final = "image/png"
PNG_COLOURS: Final = 96


def main() -> None:
    """Run what the command line names, all of them by default, and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", type=Path, default=HERE, metavar="DIR", help="where the notebooks go")
    parser.add_argument("names", nargs="*", default=[path.stem for path in programs()], metavar="NAME")
    arguments = parser.parse_args()
    for name in arguments.names:
        path = arguments.into / f"{name}.ipynb"
        nbformat.write(execute(HERE / f"{name}.py"), path)
        print(path)


def programs() -> Iterator[Path]:
    """Yield the programs in their order."""
    yield from sorted(HERE.glob("[0-9]*.py"))


def execute(program: Path) -> nbformat.NotebookNode:
    """Return a program as a notebook with all its outputs.

    Raises:
        CellExecutionError: a cell failed; it says which, and why.
    """
    notebook = jupytext.read(program)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02}"  # else each run would draw new ones
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
    )
    client.execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if PNG in data:
                data[PNG] = small(data[PNG])
    return notebook


def small(png: str) -> str:
    """Return a picture with so few colours that it is half as large, so that a clone stays small."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.convert("RGB").quantize(PNG_COLOURS).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    main()
