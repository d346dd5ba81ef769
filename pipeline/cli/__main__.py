"""``python -m pipeline.cli``: the command ``tickbraid`` where it is not installed."""

from .app import main

if __name__ == "__main__":
    main()
