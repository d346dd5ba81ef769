import dataclasses
import pickle

import pytest
from dynaconf import Dynaconf
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.secret import Secret
from pipeline.setting_keys import known_keys
from pipeline.settings import Settings, describe, load_settings

MULTI = {"USE_MULTI_CONNECTION": True, "WEBSOCKET_CONNECTION_1_SYMBOLS": "AAPL"}
BOTH = {**MULTI, "WEBSOCKET_CONNECTION_2_ENABLED": True, "WEBSOCKET_CONNECTION_2_SYMBOLS": "QQQ"}


@pytest.fixture
def load(tmp_path):
    """Load settings from nothing but what is given."""

    def with_config(config=None, *, yaml="", dotenv="", **environ):
        if yaml:
            (tmp_path / "settings.yaml").write_text(yaml)
        if dotenv:
            (tmp_path / ".env").write_text(dotenv)
        return load_settings(config, environ=environ, directory=tmp_path)

    return with_config


@pytest.fixture
def problems_of(load):
    """Return the problems that loading has."""

    def with_config(config=None, **kwargs):
        with pytest.raises(SettingsError) as caught:
            load(config, **kwargs)
        return list(caught.value.problems)

    return with_config


def test_nothing_given_is_one_synthetic_connection(load):
    """`build_pipeline()` without a line of configuration would not start."""
    settings = load()
    (connection,) = settings.connections
    assert (connection.id, connection.name, connection.enabled) == ("connection_1", "primary", True)
    assert (settings.use_massive_api, settings.redis_enabled) == (False, False)
    assert set(settings.provenance.values()) == {"default"}
    assert len(settings.universes["tech_leaders:top_20"]) == 20


def test_later_layers_win_and_are_named(load):
    """A user would not find out which of five places a value comes from."""
    yaml = "REDIS_DB: 1\nREDIS_PORT: 1\nDEDUPE_WINDOW: 1\nSYNTHETIC_SEED: 1\n"
    dotenv = "REDIS_PORT=2\nDEDUPE_WINDOW=2\nSYNTHETIC_SEED=2\n"
    settings = load({"SYNTHETIC_SEED": 4}, yaml=yaml, dotenv=dotenv, DEDUPE_WINDOW="3", SYNTHETIC_SEED="3")
    names = ("REDIS_DB", "REDIS_PORT", "DEDUPE_WINDOW", "SYNTHETIC_SEED", "REDIS_HOST")
    assert [getattr(settings, name.lower()) for name in names] == [1, 2, 3, 4, ""]
    assert [settings.provenance[name] for name in names] == [
        "settings.yaml", ".env", "environment", "config", "default",
    ]  # fmt: skip


def test_real_environment_and_working_directory_are_the_defaults(tmp_path, monkeypatch):
    """An exported variable or a settings.yaml beside the program would be ignored."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTHETIC_SEED", "9")
    (tmp_path / "settings.yaml").write_text("REDIS_DB: 2")
    settings = load_settings()
    assert (settings.synthetic_seed, settings.redis_db) == (9, 2)


def test_named_file_stands_for_settings_yaml(tmp_path):
    """`--file` would be ignored, or its name not shown."""
    (tmp_path / "settings.yaml").write_text("REDIS_DB: 1")
    (tmp_path / "mine.yaml").write_text("SYNTHETIC_SEED: 5")
    settings = load_settings(environ={}, directory=tmp_path, file=tmp_path / "mine.yaml")
    assert (settings.redis_db, settings.synthetic_seed) == (0, 5)
    assert settings.provenance["SYNTHETIC_SEED"] == "mine.yaml"


def test_blank_means_not_set_except_where_empty_means_something(load):
    """``REDIS_PORT=`` in a compose file would be a problem, or an empty channel the default again."""
    settings = load({"REDIS_CHANNEL_RAW": "", "REDIS_DB": None}, yaml="REDIS_DB: 3", REDIS_PORT=" ")
    assert (settings.redis_port, settings.redis_channel_raw, settings.redis_db) == (6379, "", 3)


def test_every_problem_at_once(problems_of):
    """A user would mend one problem a run."""
    problems = problems_of(
        {
            "USE_MULTI_CONNECTION": "ja",
            "REDIS_HOST": "h",
            "REDIS_PORT": "70000",
            "WEBSOCKET_CONNECTION_1_SYMBOLS": [True],
            "MASSIVE_API_KY": "x",
            "universes": {"mine:core": ["A B"]},
        },
        yaml="WEBSOCKET_ROUTING_STRATEGY: robin\n",
        MASSIVE_PING_TIMEOUT="0",
    )
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "MASSIVE_API_KY (config)",
        "MASSIVE_PING_TIMEOUT (environment)",
        "REDIS_PORT (config)",
        "UNIVERSES[mine",
        "USE_MULTI_CONNECTION (config)",
        "WEBSOCKET_CONNECTION_1_SYMBOLS (config)",
        "WEBSOCKET_ROUTING_STRATEGY (settings.yaml)",
    ]
    assert "REDIS_PORT (config): got '70000', expected a whole number from 1 to 65535" in problems


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.lists(st.text(max_size=4))
)


@hypothesis_settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(config=st.dictionaries(st.sampled_from(list(known_keys(4))), VALUES, max_size=8))
def test_any_mapping_gives_settings_or_problems(tmp_path, config):
    """Some mapping would end in a traceback instead of problems that can be mended."""
    try:
        settings = load_settings(config, environ={}, directory=tmp_path)
    except SettingsError as error:
        assert all("expected" in problem for problem in error.problems)  # noqa: PT017  # both ends are good
    else:
        assert settings.connections[0].url.startswith("wss://")
        assert describe(settings)


@pytest.mark.parametrize(
    "config",
    [
        {"MASSIVE_API_KEY": ["s3cret"]},
        {"MASSIVE_API_KEY": b"s3cret"},
        {"MASSIVE_API_KEY": "s3cret", "MASSIVE_WEBSOCKET_URL": "ws://feed.example"},
        {"MASSIVE_WEBSOCKET_URL": "wss://u:s3cret@feed.example"},
        {"REDIS_URL": "http://:s3cret@x"},
        {"REDIS_URL": "s3cret@x:1"},
        {"REDIS_HOST": ":s3cret@x"},
    ],
)
def test_no_problem_shows_a_secret(problems_of, config):
    """A mistake in the settings would print the key into the log of a start that failed."""
    assert "s3cret" not in str(problems_of(config))


def test_secrets_are_masked_wherever_settings_are_shown(load):
    """`tickbraid check` in a bug report would give the account away."""
    settings = load({"MASSIVE_API_KEY": "s3cret", "REDIS_URL": "redis://:s3cret@cache:6379/1"})
    rows = {name: value for name, value, _ in describe(settings)}
    assert "s3cret" not in repr(settings) + str(rows)
    assert (rows["MASSIVE_API_KEY"], rows["REDIS_URL"]) == ("***", "redis://***@cache:6379/1")
    assert settings.massive_api_key.reveal() == "s3cret"
    with pytest.raises(TypeError, match="Secret"):
        pickle.dumps(dataclasses.replace(settings, universes={}, provenance={}))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {**BOTH, "WEBSOCKET_REDUNDANT_SYMBOLS": "AAPL", "MASSIVE_EVENT_TYPES": "T, Q"},
        {"REPLAY_SPEED": "max", "REPLAY_TO": "2026-11-23T09:30:00.25-05:00", "REPLAY_CONNECTIONS": "1, 3"},
        {"REDIS_HOST": "cache", "REDIS_CHANNEL_RAW": "", "HTTP_PORT": "0", "TICK_CALLBACK": "a:b"},
    ],
)
def test_what_describe_shows_may_be_written_so(load, config):
    """`tickbraid check` would show an unset time as 0, no Redis as a secret, and `max` as `inf`."""
    settings = load(config)
    rows = {name: value for name, value, _ in describe(settings) if name != "UNIVERSES"}
    assert (rows["MASSIVE_API_KEY"], rows["HTTP_TOKEN"]) == ("", "")
    again = load(rows)
    assert dataclasses.replace(again, provenance={}) == dataclasses.replace(settings, provenance={})


def test_describe_shows_every_key_in_use(load):
    """A key would be missing from `tickbraid check`."""
    rows = {name: (value, source) for name, value, source in describe(load(BOTH))}
    assert list(rows) == list(known_keys(3))
    assert rows["USE_MULTI_CONNECTION"] == ("true", "config")
    assert rows["WEBSOCKET_CONNECTION_2_SYMBOLS"] == ("QQQ", "config")
    assert rows["MASSIVE_API_KEY"] == ("", "default")


def test_settings_are_frozen(load):
    """A part could change the settings under another."""
    settings = load()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.redis_db = 1
    with pytest.raises(TypeError):
        settings.universes["x"] = ()
    assert not hasattr(settings, "__dict__")


def test_connections_inherit_what_they_do_not_set(load):
    """A connection would subscribe to other types, or at another host, than the common keys say."""
    common = {"MASSIVE_EVENT_TYPES": "T,Q", "MASSIVE_WEBSOCKET_URL": "wss://delayed.massive.com/stocks"}
    own = {
        "WEBSOCKET_CONNECTION_2_EVENT_TYPES": ["A"],
        "WEBSOCKET_CONNECTION_2_URL": "wss://x.example/crypto",
    }
    first, second, third = load({**BOTH, **common, **own}).connections
    assert (first.event_types, first.url) == (("T", "Q"), "wss://delayed.massive.com/stocks")
    assert (second.event_types, second.url) == (("A",), "wss://x.example/crypto")
    assert (third.enabled, third.name, third.id) == (False, "tertiary", "connection_3")


def test_more_connections_follow_the_pattern(load):
    """A business account with more connections could not use them."""
    config = {**MULTI, "WEBSOCKET_CONNECTIONS_MAX": "5", "WEBSOCKET_CONNECTION_5_ENABLED": "yes"}
    settings = load({**config, "WEBSOCKET_CONNECTION_5_SYMBOLS": "SPY"})
    assert [connection.name for connection in settings.connections[3:]] == ["connection_4", "connection_5"]
    assert settings.connections[4].symbols == ("SPY",)


IDLE = [
    ({**MULTI, "WEBSOCKET_CONNECTIONS_MAX": 2}, 3),
    ({"WEBSOCKET_CONNECTIONS_MAX": 2}, 3),
    ({}, 2),
    (MULTI, 2),
]
"""Settings, and a connection that they do not open."""
SET = {
    "ENABLED": "maybe", "NAME": 5, "UNIVERSE_KEY": "+", "SYMBOLS": [True], "URL": "h", "EVENT_TYPES": "Z"
}  # fmt: skip
"""A value for each key of a connection that is none of its kind."""


@pytest.mark.parametrize(("config", "number"), IDLE)
@pytest.mark.parametrize("part", SET)
def test_what_is_not_used_refuses_nothing(load, caplog, config, number, part):
    """A key left over from another day would keep the connections from starting that are fine."""
    if part == "ENABLED" and config is MULTI:
        return  # whether that one is to be opened is not known
    name = f"WEBSOCKET_CONNECTION_{number}_{part}"
    settings = load({**config, name: SET[part]})
    assert [connection.number for connection in settings.connections if connection.enabled] == [1]
    (warning,) = caplog.messages
    assert warning.startswith(f"{name} (config) is not used: got ")


@pytest.mark.parametrize("multi", [{}, MULTI])
def test_what_is_set_beyond_the_last_connection_is_warned_of(load, caplog, multi):
    """A fourth connection would be configured and never opened, and nobody told."""
    yaml = "WEBSOCKET_CONNECTION_3_ENABLED: false\nWEBSOCKET_CONNECTION_3_NAME: tertiary"
    beyond = {"WEBSOCKET_CONNECTION_4_ENABLED": True, "WEBSOCKET_CONNECTION_4_UNIVERSE_KEY": "a:x"}
    settings = load({**multi, "WEBSOCKET_CONNECTIONS_MAX": 2, **beyond}, yaml=yaml)
    assert len(settings.connections) == (2 if multi else 1)
    assert caplog.messages == [
        f"WEBSOCKET_CONNECTION_4_{part} (config) is not used: got {got}, expected nothing beyond"
        " WEBSOCKET_CONNECTIONS_MAX, which is 2"
        for part, got in (("ENABLED", "true"), ("UNIVERSE_KEY", "'a:x'"))
    ]


@pytest.mark.parametrize(
    "config", [{}, {"REDIS_URL": "redis://h"}, {"REDIS_ENABLED": False, "REDIS_HOST": "h"}]
)
def test_a_redis_port_that_is_not_used_refuses_nothing(load, problems_of, caplog, config):
    """Kubernetes sets it to an address, beside any service that is named redis."""
    settings = load(config, REDIS_PORT="tcp://10.0.0.1:6379")
    assert settings.redis_port == 6379
    (warning,) = caplog.messages
    assert warning.startswith("REDIS_PORT (environment) is not used: got 'tcp://10.0.0.1:6379'")
    assert problems_of({"REDIS_HOST": "h"}, REDIS_PORT="tcp://10.0.0.1:6379")


def test_names_are_compared_of_what_is_opened(load):
    """The name of a connection that is switched off would have to be changed first."""
    same = {"WEBSOCKET_CONNECTION_1_NAME": "x", "WEBSOCKET_CONNECTION_2_NAME": "x"}
    assert load(same).connections[0].name == "x"
    assert load({**MULTI, **same}).connections[0].name == "x"


def test_one_connection_mode_asks_for_nothing(load):
    """Rolling back to one connection would need more than one key to be changed."""
    settings = load({**BOTH, "USE_MULTI_CONNECTION": False, "WEBSOCKET_CONNECTION_1_ENABLED": False})
    assert [connection.enabled for connection in settings.connections] == [True]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({**MULTI, "WEBSOCKET_CONNECTION_1_ENABLED": False}, "WEBSOCKET_CONNECTION_1_ENABLED"),
        ({**MULTI, "WEBSOCKET_CONNECTION_2_ENABLED": True}, "WEBSOCKET_CONNECTION_2_SYMBOLS"),
        ({"USE_MULTI_CONNECTION": True, "WEBSOCKET_ROUTING_STRATEGY": "hash"}, "SYMBOL_UNIVERSE_KEY"),
        ({**BOTH, "WEBSOCKET_CONNECTION_2_NAME": "Primary"}, "WEBSOCKET_CONNECTION_2_NAME"),
        ({"USE_MASSIVE_API": True}, "MASSIVE_API_KEY"),
        ({"MASSIVE_WEBSOCKET_RECONNECT_DELAY": 60}, "MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY"),
        ({"MASSIVE_API_KEY": "k", "MASSIVE_WEBSOCKET_URL": "ws://a.example"}, "MASSIVE_WEBSOCKET_URL"),
        ({"MASSIVE_API_KEY": "k", "MASSIVE_WEBSOCKET_URL": "ws://192.168.1.5"}, "MASSIVE_WEBSOCKET_URL"),
        (
            {**MULTI, "MASSIVE_API_KEY": "k", "WEBSOCKET_CONNECTION_1_URL": "ws://127.0.0.1.example"},
            "WEBSOCKET_CONNECTION_1_URL",
        ),
        ({"universes": ["AAPL"]}, "UNIVERSES"),
        (
            {"REDIS_HOST": "h", "REDIS_CHANNEL_RAW": "", "REDIS_CHANNEL_MARKET": ""},
            "REDIS_CHANNEL_RAW",
        ),
    ],
)
def test_contradictions(problems_of, config, named):
    """A contradiction would show only at run time: no ticks, a refused key, or a key in the clear."""
    (problem,) = problems_of(config)
    assert problem.startswith(f"{named} (")
    assert ", expected " in problem


@pytest.mark.parametrize(
    "config",
    [
        {"USE_MASSIVE_API": True, "USE_SYNTHETIC_DATA": True},
        {"USE_MULTI_CONNECTION": True, "WEBSOCKET_ROUTING_STRATEGY": "hash", "SYMBOL_UNIVERSE_KEY": "a:x"},
        {**MULTI, "WEBSOCKET_ROUTING_STRATEGY": "hash", "WEBSOCKET_CONNECTION_2_ENABLED": True},
        {"WEBSOCKET_CONNECTION_1_NAME": "secondary"},
        {"MASSIVE_API_KEY": "k", "MASSIVE_WEBSOCKET_URL": "ws://localhost:9"},
        {"MASSIVE_API_KEY": "k", "MASSIVE_WEBSOCKET_URL": "ws://[::1]:9"},
        {"MASSIVE_API_KEY": "k", "MASSIVE_WEBSOCKET_URL": "ws://127.3.2.1:9"},
        {**MULTI, "MASSIVE_API_KEY": "k", "WEBSOCKET_CONNECTION_2_URL": "ws://a.example"},
    ],
)
def test_no_contradictions(load, config):
    """Settings that work would be refused."""
    assert load(config)


def test_a_problem_brings_no_second_one(problems_of):
    """A user would be told to set a key that is set, only wrongly."""
    assert len(problems_of({"USE_MASSIVE_API": True, "MASSIVE_API_KEY": 5})) == 1
    assert len(problems_of({"WEBSOCKET_CONNECTIONS_MAX": "x", "WEBSOCKET_CONNECTION_4_NAME": "d"})) == 1
    assert len(problems_of({"USE_MULTI_CONNECTION": True, "WEBSOCKET_CONNECTION_1_SYMBOLS": [True]})) == 1


@pytest.mark.parametrize(
    ("config", "enabled", "url"),
    [
        ({}, False, ""),
        ({"REDIS_URL": "rediss://h/2"}, True, "rediss://h/2"),
        ({"REDIS_HOST": "h", "REDIS_PORT": "1", "REDIS_DB": 2}, True, "redis://h:1/2"),
        ({"REDIS_HOST": "::1"}, True, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "h", "REDIS_URL": "unix:///s"}, True, "unix:///s"),
        ({"REDIS_ENABLED": True}, True, "redis://localhost:6379/0"),
        ({"REDIS_ENABLED": "off", "REDIS_HOST": "h"}, False, "redis://h:6379/0"),
    ],
)
def test_redis_follows_from_its_address(load, config, enabled, url):
    """Ticks would go to no Redis, or to another one."""
    settings = load(config)
    assert (settings.redis_enabled, settings.redis_url) == (enabled, Secret(url))


def test_universes_of_all_layers_join(load):
    """One universe of one's own would hide all that come with Tickbraid, or the file's."""
    yaml = "universes:\n  mine:core: [BACpL, ON]\n  etf:sector_spdrs: XLK\n"
    settings = load({"UNIVERSES": {"mine:more": "SPY, SPY"}}, yaml=yaml)
    assert settings.universes["mine:core"] == ("BACpL", "ON")
    assert settings.universes["mine:more"] == ("SPY",)
    assert settings.universes["etf:sector_spdrs"] == ("XLK",)
    assert len(settings.universes["market_leaders:top_50"]) == 50
    assert settings.provenance["UNIVERSES"] == "config"


ODD_LISTS = [
    ("WEBSOCKET_CONNECTION_1_SYMBOLS", lambda settings: settings.connections[0].symbols),
    ("WEBSOCKET_REDUNDANT_SYMBOLS", lambda settings: settings.websocket_redundant_symbols),
    ("UNIVERSES[mine:core]", lambda settings: settings.universes["mine:core"]),
]


@pytest.mark.parametrize(("name", "found"), ODD_LISTS)
def test_an_odd_symbol_costs_itself_and_is_warned_of(load, problems_of, caplog, name, found):
    """One slip in a watchlist of a thousand would keep the stream from starting."""
    key, _, universe = name.rstrip("]").partition("[")

    def config(symbols):
        return {key: {universe: symbols} if universe else symbols}

    settings = load(config(["BACpL", "^VIX", True, "BRK.B"]))
    assert found(settings) == ("BACpL", "BRK.B")
    assert [each.symbol for each in settings.odd_symbols[name]] == ["^VIX", "true"]
    (warning,) = caplog.messages
    assert warning.startswith(
        f"{name} (config): left out '^VIX' (an index is written I:VIX), 'true' (it is a"
    )
    (problem,) = problems_of(config(["^VIX", "$SPX"]))
    assert "'$SPX'" in problem, "nothing is left"


def test_dynaconf_settings_are_a_config(load):
    """An application that has its settings in dynaconf would have to copy them."""
    config = Dynaconf(load_dotenv=False, envvar_prefix=None, SYNTHETIC_SEED=3, DATABASE_URL="x")
    assert load(config, SYNTHETIC_SEED="4").synthetic_seed == 3


def test_old_name_warns_the_caller(load):
    """A user could not tell which line of theirs has the old name."""
    with pytest.warns(DeprecationWarning, match="MAX_RETRIES") as caught:
        settings = load_settings({"MAX_RECONNECT_ATTEMPTS": "5"}, environ={}, directory="/nonexistent")
    assert settings.massive_websocket_max_retries == 5
    assert caught[0].filename == __file__


def test_defaults_of_the_class_are_the_defaults(load):
    """A part that is tested with `Settings()` would be tested with other values than users have."""
    loaded, plain = load(), Settings()
    bare = dataclasses.replace(loaded, connections=(), universes={}, provenance={})
    assert bare == plain


def test_a_callback_is_a_module_and_a_function(load, problems_of):
    """A path of a file would be found wrong only when the stream starts."""
    for path in ("", "mine:on_tick", "my.desk:Desk.on_tick"):
        assert load({"TICK_CALLBACK": path}).tick_callback == path
    for path in ("mine", "mine.py:on_tick()", ":on_tick", "./mine:on_tick", "mine:"):
        (problem,) = problems_of({"TICK_CALLBACK": path})
        assert "expected MODULE:FUNCTION" in problem
