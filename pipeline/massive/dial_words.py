"""Why a dial failed or a connection broke, in our words: one sentence, whatever library raised whatever."""

import errno
import os
import socket
import ssl
from functools import singledispatch
from typing import Final

__all__ = ["broken", "name_of", "predicate", "why"]

_UNREACHABLE: Final = "has no route to it from here"
_PREDICATES: Final = {
    errno.ECONNREFUSED: "refused the connection: nobody listens there",
    errno.ECONNRESET: "cut the connection",
    errno.ECONNABORTED: "cut the connection",
    errno.EPIPE: "cut the connection",
    errno.ETIMEDOUT: "does not answer",
    errno.ENETUNREACH: _UNREACHABLE,
    errno.EHOSTUNREACH: _UNREACHABLE,
    errno.ENETDOWN: _UNREACHABLE,
    errno.EADDRNOTAVAIL: _UNREACHABLE,
    errno.EAFNOSUPPORT: _UNREACHABLE,
    errno.EACCES: "may not be connected to, says this machine (a firewall?)",
    errno.EPERM: "may not be connected to, says this machine (a firewall?)",
    errno.EMFILE: "cannot be connected to: this process has no file descriptor left",
    errno.ENFILE: "cannot be connected to: this machine has no file descriptor left",
}
_ANOTHER_HOST: Final = 62
_CERTIFICATES: Final = {
    9: "is not valid yet (is this machine's clock right?)",
    10: "has expired (or this machine's clock is wrong)",
    18: "is signed by itself, and this machine does not trust it",
    19: "is signed by an authority that this machine does not trust",
    20: "is signed by an authority that this machine does not know",
    21: "is signed by an authority that this machine does not know",
    _ANOTHER_HOST: "is for another host: is the name spelt right?",
    64: "is for another host: is the address right?",
}
"""By the number that OpenSSL gives the fault (``X509_V_ERR_…``)."""
_WILDCARDS: Final = (".massive.com", ".polygon.io")
"""Where DNS answers for every name (probed in 2026-09), so that a mistyped one is only found out by TLS."""
_NO_TLS: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
    }
)


def name_of(host: str, port: int) -> str:
    """Return a host and port as one word."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def predicate(number: int | None) -> str:
    """Return what the system says of a peer by an ``errno``; a host and port stand before it."""
    known = _PREDICATES.get(number or 0)
    return known or f"cannot be used ({os.strerror(number) if number else 'for no reason given'})"


def broken(error: OSError) -> str:
    """Return how an open connection ended that the peer did not close."""
    if isinstance(error, ssl.SSLError):
        return f"TLS broke ({_reason(error)})"
    if error.errno in {errno.ECONNRESET, errno.EPIPE}:
        return "TCP was reset"
    return f"TCP broke ({os.strerror(error.errno or 0).lower()})"


@singledispatch
def why(error: Exception, peer: str) -> str:
    """Return what happened to the connection to ``peer``.

    Args:
        error: what a library raised, of any kind.
        peer: whom it happened with, HOST:PORT.
    """
    return f"{peer} cannot be connected to ({type(error).__name__})"


@why.register
def _(error: OSError, peer: str) -> str:
    return f"{peer} {predicate(error.errno)}"


@why.register
def _(error: socket.gaierror, peer: str) -> str:
    if error.errno == socket.EAI_AGAIN:
        return f"no name server answers about {peer}"
    return f"no address is known for {peer}: is the name spelt right?"


@why.register
def _(_error: UnicodeError, peer: str) -> str:
    return f"{peer} is no name of a host"


@why.register
def _(_error: RuntimeError, peer: str) -> str:
    return f"no thread can be started to connect to {peer}"


@why.register
def _(error: ssl.SSLError, peer: str) -> str:
    if error.reason in _NO_TLS:
        return f"{peer} does not speak TLS: is it another port, or ws://?"
    return f"TLS with {peer} failed ({_reason(error)})"


def _reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's name of a fault, which is a constant of its own and nothing that a peer said."""
    return (getattr(error, "reason", None) or "for no reason given").replace("_", " ").lower()


@why.register(ssl.SSLEOFError)
@why.register(ssl.SSLZeroReturnError)
def _(_error: ssl.SSLError, peer: str) -> str:
    return f"{peer} hung up during TLS"


@why.register
def _(error: ssl.SSLCertVerificationError, peer: str) -> str:
    fault = _CERTIFICATES.get(error.verify_code, f"cannot be trusted ({error.verify_message})")
    another = error.verify_code == _ANOTHER_HOST and peer.rpartition(":")[0].endswith(_WILDCARDS)
    hint = " (DNS answers for every name there)" if another else ""
    return f"the certificate of {peer} {fault}{hint}"
