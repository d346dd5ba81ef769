"""Where ticks go: a callback, Redis."""
