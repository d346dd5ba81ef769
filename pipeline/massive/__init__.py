"""The Massive feed: protocol, sockets, connections, and a simulator of the server."""
