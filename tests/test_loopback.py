import pytest

from pipeline.loopback import is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "localhost",
        "LocalHost",
        "localhost.",
        "a.localhost",
        "a.b.localhost.",
    ],
)
def test_this_machine(host):
    """The simulator would be looked for behind a proxy, or a key refused to it."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "notlocalhost",
        "126.0.0.1",
        "0.0.0.0",  # noqa: S104  # a case of the test
        "::",
        "::2",
    ],
)
def test_another_machine(host):
    """A key would be sent to it in the clear."""
    assert not is_loopback(host)
