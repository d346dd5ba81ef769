"""What the operators raise, or end a stream with."""

__all__ = ["BufferOverflow"]


class BufferOverflow(Exception):
    """Says that a bounded queue was full and was told to treat that as an error."""
