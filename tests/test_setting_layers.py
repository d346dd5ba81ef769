import os

import pytest
from dynaconf import Dynaconf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.setting_layers import config_layer, dotenv_layer, environment_layer, file_layer, read_yaml


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def make(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("A: 1\nREDIS_DB: [1\nB: 2\n", "line 3"),
        (
            "A: 1\nMASSIVE_API_KEY: s3cret\nMASSIVE_API_KEY: s3cret\n",
            "line 3: a key stands there a second time",
        ),
        ("MASSIVE_API_KEY: 's3cret\n", "no YAML"),
        ("- s3cret\n", "got a list, expected a mapping"),
        ("s3cret", "got a str, expected a mapping"),
        (b"A: \xff s3cret", "no UTF-8"),
        ("A: 2024-13-45", "no YAML"),
        ("[1]: s3cret", "expected a mapping"),
    ],
)
def test_broken_file_is_one_problem(write, content, told):
    """A slip in settings.yaml would be a traceback, or show the key that stands beside it."""
    problems = []
    layer = file_layer(write("settings.yaml", content), problems)
    assert layer.values == {}
    assert told in "".join(problems) or "unknown key" in problems[0]
    assert "s3cret" not in "".join(problems)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.text("ab:-[]{}'\"&*!|>%@#?, \n\t0.", max_size=40), st.binary(max_size=20)))
def test_any_file_is_read_or_a_problem(write, content):
    """Some content would end in a traceback instead of a problem."""
    problems = []
    path = write("settings.yaml", content)
    layer = file_layer(path, problems)
    assert problems or dict(layer.values) in ({}, read_yaml(path))
    dotenv_layer(path, problems)


def test_missing_and_empty_files(tmp_path, write):
    """A file that was named and is not there would be silently replaced by the defaults."""
    problems = []
    file_layer(tmp_path / "mine.yaml", problems)
    assert problems == ["mine.yaml: cannot be read: No such file or directory"]
    assert file_layer(write("settings.yaml", "# nothing\n"), problems).values == {}
    assert dotenv_layer(tmp_path / ".env", problems).values == {}
    assert len(problems) == 1


def test_yaml_words_stay_words(write):
    """ON Semiconductor would be subscribed to as the boolean true."""
    path = write("settings.yaml", "websocket_connection_1_symbols: [ON, NO, Y, TRUE, 1E5]\n")
    layer = file_layer(path, [])
    assert layer.values == {"WEBSOCKET_CONNECTION_1_SYMBOLS": ["ON", "NO", "Y", True, 100000.0]}


def test_unknown_key_names_the_nearest(write):
    """A mistyped key would be ignored and its default used."""
    problems = []
    file_layer(
        write("settings.yaml", "MASSIVE_PING_INTERVALL: 3\nWEBSOCKET_CONNECTION_5_NAM: A\n1: 2\n"),
        problems,
    )
    assert problems == [
        "MASSIVE_PING_INTERVALL (settings.yaml): unknown key; did you mean MASSIVE_PING_INTERVAL?",
        "WEBSOCKET_CONNECTION_5_NAM (settings.yaml): unknown key; did you mean WEBSOCKET_CONNECTION_5_NAME?",
        "1 (settings.yaml): unknown key",
    ]


def test_dotenv(write):
    """A .env as people write it would be misread, or its other names refused."""
    first = "# mine\nexport MASSIVE_API_KEY='a#b c' # note\nREDIS_DB=3\n"
    content = first + "DATABASE_URL=x\nMASSIVE_EVENT_TYPES\nREDIS_HOST=\n"
    layer = dotenv_layer(write(".env", content), [])
    assert layer.values == {"MASSIVE_API_KEY": "a#b c", "REDIS_DB": "3", "REDIS_HOST": ""}
    assert "REDIS_DB" not in os.environ


@pytest.mark.parametrize(
    ("content", "told"), [(b"A=\xff", "no UTF-8"), ("REDIS_DB=1\nA='s3cret\n", "line 2")]
)
def test_unreadable_dotenv(write, content, told):
    """Half a .env would be used, without the key in its other half."""
    problems = []
    dotenv_layer(write(".env", content), problems)
    assert len(problems) == 1
    assert told in problems[0]
    assert "s3cret" not in problems[0]


def test_directory_for_dotenv(tmp_path):
    """A container that mounts a directory there would end in a traceback."""
    (tmp_path / ".env").mkdir()
    problems = []
    dotenv_layer(tmp_path / ".env", problems)
    assert problems == [".env: cannot be read: Is a directory"]


def test_environment_keeps_texts():
    """The guessing of dynaconf's own loader would make numbers of tickers."""
    environ = {
        "WEBSOCKET_CONNECTION_1_SYMBOLS": "1E5",
        "REDIS_DB": "007",
        "UNIVERSES": "x",
        "redis_db": "1",
        "HOME": "/",
    }
    layer = environment_layer(environ, [])
    assert layer.values == {"WEBSOCKET_CONNECTION_1_SYMBOLS": "1E5", "REDIS_DB": "007"}


def test_dynaconf_tokens(tmp_path, monkeypatch, write):
    """A key could not be read from a mounted secret, as dynaconf users do."""
    monkeypatch.setenv("CACHE", "cache.example")
    (tmp_path / "key").write_text("s3cret")
    environ = {
        "MASSIVE_API_KEY": f"@read_file {tmp_path}/key",
        "REDIS_URL": "@format redis://{env[CACHE]}:6379",
        "REDIS_DB": "@int 3",
        "REDIS_CHANNEL_ALL": "@mine",
        "WEBSOCKET_CONNECTION_1_NAME": "left",
    }
    problems = []
    layer = environment_layer(environ, problems)
    assert problems == []
    assert dict(layer.values) == {
        "MASSIVE_API_KEY": "s3cret",
        "REDIS_URL": "redis://cache.example:6379",
        "REDIS_DB": 3,
        "REDIS_CHANNEL_ALL": "@mine",
        "WEBSOCKET_CONNECTION_1_NAME": "left",
    }


def test_token_that_does_not_resolve():
    """A secret that is not mounted would be a traceback, or its path the key."""
    problems = []
    layer = environment_layer(
        {"MASSIVE_API_KEY": "@read_file /nowhere/s3cret", "REDIS_DB": "@int s3cret"}, problems
    )
    assert layer.values == {}
    assert len(problems) == 2
    assert "s3cret" not in "".join(problems)


def test_dynaconf_object_is_taken_and_left_alone():
    """A TickStock-like application hands over its own settings, with much else in them."""
    config = Dynaconf(
        load_dotenv=False,
        envvar_prefix=None,
        REDIS_DB=5,
        DATABASE_URL="postgres://x",
        universes={"mine:core": ["AAPL"]},
        websocket_connection_2_symbols=["QQQ"],
    )
    problems = []
    layer = config_layer(config, problems)
    assert problems == []
    assert layer.values == {
        "REDIS_DB": 5,
        "UNIVERSES": {"mine:core": ["AAPL"]},
        "WEBSOCKET_CONNECTION_2_SYMBOLS": ["QQQ"],
    }


def test_neither_mapping_nor_dynaconf():
    """A path in the place of a mapping would mean all defaults."""
    with pytest.raises(TypeError, match="config must be a mapping"):
        config_layer("settings.yaml", [])


OLD, OLDER, NEW = (
    "MASSIVE_WEBSOCKET_MAX_RECONNECT_ATTEMPTS",
    "MAX_RECONNECT_ATTEMPTS",
    "MASSIVE_WEBSOCKET_MAX_RETRIES",
)


@pytest.mark.parametrize(
    ("values", "result"),
    [({OLD: 7}, 7), ({OLDER: 8}, 8), ({OLD: 7, OLDER: 8}, 7), ({NEW: 9, OLD: 7}, 9), ({NEW: 0, OLDER: 7}, 0)],
)
def test_old_names_are_taken_with_a_warning(values, result, caplog):
    """A TickStock user's limit of attempts would be lost."""
    with pytest.warns(DeprecationWarning, match=NEW):
        layer = config_layer(values, [])
    assert layer.values == {NEW: result}
    assert "old name" in caplog.text


def test_a_byte_order_mark_costs_nothing_in_any_layer(write, tmp_path):
    """Windows editors write one, and the first key of the file would be another than it looks like."""
    problems = []
    mark = b"\xef\xbb\xbf"
    key = write("key.txt", mark + b"k-3f9a\r\n")
    dotenv = dotenv_layer(write(".env", mark + b"USE_MASSIVE_API=true\nDEDUPE_WINDOW=7\n"), problems)
    file = file_layer(write("settings.yaml", mark + b"USE_MASSIVE_API: true\nDEDUPE_WINDOW: 7\n"), problems)
    environ = environment_layer(
        {"MASSIVE_API_KEY": f"@read_file {key}", "HTTP_TOKEN": mark.decode() + "t-1"}, problems
    )
    assert problems == []
    assert (dotenv.values["USE_MASSIVE_API"], file.values["USE_MASSIVE_API"]) == ("true", True)
    assert environ.values["MASSIVE_API_KEY"].strip() == "k-3f9a"
    assert environ.values["HTTP_TOKEN"] == "t-1"


@pytest.mark.parametrize("key", ["massive_api_key", "http_token"])
def test_a_credential_of_systemd_is_read_from_its_file(write, tmp_path, monkeypatch, key):
    """A service with DynamicUser could read its key from nowhere but a file that everybody can read."""
    write(key, b"\xef\xbb\xbfk-3f9a\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    values = {key.upper(): f"@read_file @format {{env[CREDENTIALS_DIRECTORY]}}/{key}"}
    problems = []
    assert environment_layer(values, problems).values[key.upper()].strip() == "k-3f9a"
    assert problems == []
