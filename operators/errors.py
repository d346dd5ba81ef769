"""What the operators raise, or end a stream with."""

__all__ = ["BufferOverflow", "NotABatch"]


class BufferOverflow(Exception):
    """A bounded queue was full and had been told to treat that as an error."""


class NotABatch(TypeError):
    """An item came to an operator that takes batches, and is none; says what it lacks."""
