"""How the stream is doing, for people and machines."""
