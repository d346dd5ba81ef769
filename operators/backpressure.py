class BufferOverflow(Exception):
    pass
