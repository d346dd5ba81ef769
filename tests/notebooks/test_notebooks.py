import os
import subprocess
import sys
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

HERE = Path(__file__).parents[2] / "notebooks"
FIGURES = {"01_quickstart": 1, "02_latency_analysis": 8, "03_routing_and_failover": 3, "04_backpressure": 3}
SHORT = "0.15"
DEADLINE_S = 150
MOST_BYTES = 400_000


def figures_in(notebook):
    """Fail where a cell was not run, or failed, or warned; return how many figures there are."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, 1 + len(cells)))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_there_are_four():
    """The tests below would pass over one that went missing."""
    assert {path.stem for path in HERE.glob("[0-9]*.py")} == set(FIGURES)
    assert {path.stem for path in HERE.glob("*.ipynb")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_what_is_committed_was_run_and_is_of_its_program(name):
    """Readers would see figures of another program than the one beside them, or none."""
    path = HERE / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    program = jupytext.read(HERE / f"{name}.py")
    assert [(c.cell_type, c.source) for c in notebook.cells] == [
        (c.cell_type, c.source) for c in program.cells
    ]
    assert figures_in(notebook) == FIGURES[name]
    assert path.stat().st_size < MOST_BYTES
    assert str(HERE.parent) not in path.read_text(encoding="utf-8")


@pytest.mark.timeout(DEADLINE_S + 10)
@pytest.mark.parametrize("name", FIGURES)
def test_it_runs_as_make_notebooks_runs_it(name, tmp_path):
    """A reader without a key would meet an error where a figure should be."""
    # In a process of its own: Jupyter's client leaves sockets and settings behind.
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, HERE / "execute.py", "--into", tmp_path, name],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        env=os.environ | {"TICKBRAID_NOTEBOOK_SHARE": SHORT},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"{tmp_path / name}.ipynb\n"
    assert figures_in(nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)) == FIGURES[name]
