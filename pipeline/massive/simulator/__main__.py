"""``python -m pipeline.massive.simulator``: the command ``tickbraid simulate`` by itself."""

import typer

from .command import simulate

if __name__ == "__main__":
    typer.run(simulate)
