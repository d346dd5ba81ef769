import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipeline.cli.app import app

GOOD = """
USE_MASSIVE_API: true
USE_MULTI_CONNECTION: true
WEBSOCKET_CONNECTION_1_SYMBOLS: [AAPL, MSFT]
WEBSOCKET_CONNECTION_2_ENABLED: true
WEBSOCKET_CONNECTION_2_UNIVERSE_KEY: etf:sector_spdrs
"""


def check(*arguments):
    """Run the command here."""
    return CliRunner().invoke(app, ["check", *arguments])


def test_it_shows_values_their_origin_and_the_routing(tmp_path, monkeypatch):
    """Nobody could tell which of four layers won, or which connection carries a ticker."""
    (tmp_path / "settings.yaml").write_text(GOOD)
    (tmp_path / ".env").write_text("MASSIVE_API_KEY=k-very-secret\n")
    monkeypatch.setenv("DEDUPE_WINDOW", "1000")
    result = check()
    assert (result.exit_code, result.stderr) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line}
    assert rows["DEDUPE_WINDOW"] == ["environment", "1000"]
    assert rows["USE_MULTI_CONNECTION"] == ["settings.yaml", "true"]
    assert rows["MASSIVE_API_KEY"] == [".env", "***"]
    assert rows["REDIS_PORT"] == ["default", "6379"]
    url = "wss://socket.massive.com/stocks"
    assert result.stdout.splitlines()[-2:] == [
        f"connection_1 (primary), {url}: 2 tickers: AAPL, MSFT",
        f"connection_2 (secondary), {url}: 11 tickers: XLB, XLC, XLE, XLF, XLI, XLK, XLP, XLRE and 3 more",
    ]


def test_json_holds_the_same_with_all_tickers(tmp_path):
    """A deployment script could not look before it starts the service."""
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD + "MASSIVE_API_KEY: k-very-secret\n")
    result = check("--settings", str(file), "--json")
    values = msgspec.json.decode(result.stdout)
    assert (result.exit_code, values["ok"], values["problems"]) == (0, True, [])
    assert values["settings"]["MASSIVE_API_KEY"] == {"value": "***", "source": "mine.yaml"}
    assert values["routing"]["connection_1"]["tickers"] == ["AAPL", "MSFT"]
    assert len(values["routing"]["connection_2"]["tickers"]) == 11


def test_every_problem_is_told_and_the_exit_code_is_2(monkeypatch):
    """One would have to run it once for every mistake."""
    monkeypatch.setenv("USE_MULTI_CONNECTION", "maybe")
    monkeypatch.setenv("DEDUPE_WINDOW", "-1")
    human, machine = check(), check("--json")
    assert (human.exit_code, machine.exit_code) == (2, 2)
    assert human.stdout == ""
    assert [line.split(" ")[1] for line in human.stderr.splitlines()] == [
        "USE_MULTI_CONNECTION",
        "DEDUPE_WINDOW",
    ]
    values = msgspec.json.decode(machine.stdout)
    assert (values["ok"], len(values["problems"])) == (False, 2)


def test_a_universe_without_tickers_is_a_problem_here(monkeypatch):
    """A typing error in a universe's name would first show as a connection that is never opened."""
    monkeypatch.setenv("WEBSOCKET_CONNECTION_1_UNIVERSE_KEY", "etf:sector_spdr")
    result = check()
    assert result.exit_code == 2
    assert "Warning: universe etf:sector_spdr is unknown or empty\n" in result.stderr
    assert "Error: WEBSOCKET_CONNECTION_1_UNIVERSE_KEY" in result.stderr
    assert "etf:sector_spdrs" in result.stderr, "the nearest name there is"


def test_symbols_are_shown_as_they_are_written_and_what_is_odd_about_them(monkeypatch):
    """Who wrote `aapl` had AAPL until now, and would have silence; one slip would hide all the others."""
    monkeypatch.setenv("WEBSOCKET_CONNECTION_1_SYMBOLS", "aapl, BACpL, ^VIX, zzzz")
    result = check()
    assert result.exit_code == 0
    assert "3 tickers: aapl, BACpL, zzzz\n" in result.stdout
    assert result.stderr.splitlines() == [
        "Warning: WEBSOCKET_CONNECTION_1_SYMBOLS (environment): left out '^VIX' (an index is written I:VIX)",
        "Warning: aapl is known in another case: did you mean AAPL? symbols are case-sensitive",
        "Warning: zzzz is in lower case: did you mean ZZZZ? symbols are case-sensitive",
    ]


def test_one_ticker_is_one(monkeypatch):
    """Who reads `1 tickers` wonders what else was miscounted."""
    monkeypatch.setenv("WEBSOCKET_CONNECTION_1_SYMBOLS", "BTC-USD")
    assert check().stdout.splitlines()[-1].endswith(": 1 ticker: BTC-USD")


def test_a_key_that_connects_nothing_is_a_warning(monkeypatch):
    """Who has set the new key and nothing else would take generated ticks for the market's."""
    monkeypatch.setenv("MASSIVE_API_KEY", "k-very-secret")
    unused = "Warning: MASSIVE_API_KEY (environment) is not used: USE_MASSIVE_API (default) is off"
    assert check().stderr == f"{unused}; ticks are generated here\n"
    for other in ("USE_MASSIVE_API", "USE_SYNTHETIC_DATA"):
        monkeypatch.setenv(other, "true")
        assert check().stderr == ""
        monkeypatch.delenv(other)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("wss://socket.massive.com", True),
        ("wss://delayed.polygon.io/stock", True),
        ("wss://socket.massive.com/stocks/", False),
        ("wss://socket.massive.com/futures/cme", False),
        ("wss://feed.example.com", False),
    ],
)
def test_an_address_of_massive_without_a_market_is_a_warning(monkeypatch, url, warned):
    """Who forgot the last part of the address, or misspelt it, would first see it refused."""
    monkeypatch.setenv("USE_MASSIVE_API", "true")
    monkeypatch.setenv("MASSIVE_API_KEY", "k-very-secret")
    monkeypatch.setenv("MASSIVE_WEBSOCKET_URL", url)
    result = check()
    words = f"Warning: the address {url} of connection_1 names no market: /stocks, /options, "
    assert (result.exit_code, result.stderr.startswith(words)) == (0, warned)


def test_an_old_name_is_a_warning_told_once(monkeypatch):
    """Users of an old name would never learn the new one, or not see the rest for the repetitions."""
    monkeypatch.setenv("MAX_RECONNECT_ATTEMPTS", "3")
    result = check()
    assert result.exit_code == 0
    assert result.stderr.count("MAX_RECONNECT_ATTEMPTS (environment) is an old name") == 1
    assert result.stderr.startswith("Warning: ")


def test_a_file_that_is_not_there_is_a_problem(tmp_path):
    """The settings of a mistyped path would silently be the defaults."""
    result = check("--settings", str(tmp_path / "nothing.yaml"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing.yaml: cannot be read" in result.stderr


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=12),
    as_json=st.booleans(),
    good=st.booleans(),
)
def test_no_secret_is_ever_shown(monkeypatch, key, as_json, good):
    """A key in a terminal's history or a ticket is a key to change."""
    monkeypatch.setenv("MASSIVE_API_KEY", f"K{key}")
    monkeypatch.setenv("REDIS_URL", f"redis://:P{key}@localhost:6379/0")
    monkeypatch.setenv("DEDUPE_WINDOW", "7" if good else "seven")
    result = check(*["--json"] * as_json)
    assert result.exit_code == (0 if good else 2)
    assert key not in result.output
