import asyncio
import contextlib
import random

import pytest

from tests.chaos.links import Forwarder

WITHIN_S = 30.0
A_MOMENT_S = 0.05


class Line:
    """A client's end and the server's, with a link between."""

    def __init__(self, client, server, link):
        self.reader, self.writer = client
        self.far_reader, self.far_writer = server
        self.link = link


@contextlib.asynccontextmanager
async def joined():
    """Give a line through a forwarder."""
    arrived = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: arrived.put(ends), "127.0.0.1", 0)
    forwarder = Forwarder(random.Random(1))
    forwarder.port = server.sockets[0].getsockname()[1]
    client = await asyncio.open_connection("127.0.0.1", forwarder.listens_on)
    ends = await asyncio.wait_for(arrived.get(), WITHIN_S)
    link = forwarder.link_of(ends[1].get_extra_info("peername")[1])
    try:
        yield Line(client, ends, link)
    finally:
        client[1].close()
        ends[1].close()
        await forwarder.close()
        server.close()


def on_a_line(test):
    """Run a test on a loop, with a line."""

    async def run():
        async with asyncio.timeout(WITHIN_S), joined() as line:
            await test(line)

    asyncio.run(run())


def test_a_link_carries_both_ways():
    """Else nothing that is done to it would show anything."""

    async def test(line):
        line.writer.write(b"asked")
        assert await line.far_reader.readexactly(5) == b"asked"
        line.link.crumble(1, 1.0)
        line.link.slow(0.02, 1.0)
        line.far_writer.write(b"answered")
        assert await line.reader.readexactly(8) == b"answered"
        line.far_writer.close()
        assert await line.reader.read() == b""

    on_a_line(test)


def test_a_reset_is_an_rst():
    """Only an RST throws away what the client's kernel holds unread."""

    async def test(line):
        line.link.reset()
        with pytest.raises(ConnectionResetError):
            await line.reader.read()
        assert await line.far_reader.read() == b""

    on_a_line(test)


def test_a_finish_is_a_fin():
    """The client has to take an end of TCP in the middle of a message."""

    async def test(line):
        line.far_writer.write(b"half a mess")
        assert await line.reader.readexactly(11) == b"half a mess"
        line.link.finish()
        assert await line.reader.read() == b""

    on_a_line(test)


def test_a_half_open_link_carries_nothing_and_tells_nobody():
    """Neither an end nor an error may give it away, on neither side, not even when the client leaves."""

    async def test(line):
        line.link.leave_half_open(60.0)
        line.far_writer.write(b"lost")
        line.writer.write(b"lost, too")
        for reader in (line.reader, line.far_reader):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), A_MOMENT_S)
        line.writer.close()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.far_reader.read(1), A_MOMENT_S)
        assert line.link.lost_bytes == 4
        await line.link.close()
        assert await line.far_reader.read() == b""

    on_a_line(test)


def test_what_stalls_comes_later_and_whole():
    """A stall loses nothing: what it held must come in its order."""

    async def test(line):
        line.link.stall(1.0)
        line.far_writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.reader.read(1), A_MOMENT_S)
        assert await line.reader.readexactly(4) == b"late"

    on_a_line(test)
