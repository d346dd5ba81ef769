import pytest

from pipeline.setting_layers import dotenv_layer, environment_layer
from pipeline.setting_typos import near_keys

OTHERS = """
HOME PATH PWD SHELL TERM USER LANG LC_ALL TZ EDITOR VIRTUAL_ENV PYTHONPATH PYTHONUNBUFFERED
PIP_INDEX_URL SSH_AUTH_SOCK HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy no_proxy HTTP_HOSTS
HTTP_TIMEOUT HTTP_TOKENS HTTP_USER_AGENT REDIS_URI REDIS_HOSTS REDIS_PASSWORD REDIS_PORTS
REDIS_TLS_URL REDIS_SERVICE_HOST REDIS_SERVICE_PORT REDIS_PORT_6379_TCP REDIS_PORT_6379_TCP_ADDR
REDIS_VERSION REDIS_MAXMEMORY USE_REDIS_CACHE USE_TLS WEBSOCKET_URL WEBSOCKET_PORT
WEBSOCKET_SERVER_URL POLYGON_API_KEY MASSIVE_API_BASE_URL MASSIVE_MAX_TABLES KUBERNETES_SERVICE_HOST
DATABASE_URL POSTGRES_PASSWORD SENTRY_DSN MARKET_DATA_URL CAPTURE_DEVICE REPLAY_ID FLASK_ENV
DJANGO_SETTINGS_MODULE INVOCATION_ID JOURNAL_STREAM CREDENTIALS_DIRECTORY SYSTEMD_EXEC_PID
XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS
""".split()  # noqa: SIM905  # a list that is read


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("WEBSOCKET_ROUTING_STRATEGI", "WEBSOCKET_ROUTING_STRATEGY"),
        ("USE_MASIVE_API", "USE_MASSIVE_API"),
        ("MASSIVE_API_KEYS", "MASSIVE_API_KEY"),
        ("MASSIVE_KEY", "MASSIVE_API_KEY"),
        ("use_massive_api", "USE_MASSIVE_API"),
        ("DYNACONF_REDIS_URL", "REDIS_URL"),
        ("TICKBRAID_DEDUPE_WINDOW", "DEDUPE_WINDOW"),
        ("WEBSOCKET_CONNECTION_2_SYMBOL", "WEBSOCKET_CONNECTION_2_SYMBOLS"),
        ("WEBSOCKET_CONECTION_3_ENABLED", "WEBSOCKET_CONNECTION_3_ENABLED"),
        ("WEBSOCKET_CONNECTION_SYMBOLS", "WEBSOCKET_CONNECTION_1_SYMBOLS"),
        ("REDIS_CHANEL_RAW", "REDIS_CHANNEL_RAW"),
    ],
)
def test_a_name_that_is_nearly_a_key_is_told_with_the_key(name, key, tmp_path, caplog):
    """A slip in the environment or in `.env` is silence, and the ticks are generated ones."""
    environment_layer({name: "true"}, [])
    (tmp_path / ".env").write_text(f"{name}=true\n")
    dotenv_layer(tmp_path / ".env", [])
    assert caplog.messages == [
        f"{name} ({source}) is no key and is ignored; did you mean {key}?"
        for source in ("environment", ".env")
    ]


def test_names_of_other_programs_are_passed_over():
    """Each start in a pod or a shell with other software would print a dozen warnings that mean nothing."""
    assert list(near_keys(dict.fromkeys(OTHERS, "x"))) == []


def test_what_is_set_under_its_right_name_is_not_asked_about():
    """A spare ``MASSIVE_API_KEY_2`` beside the key in use would be warned about at each start."""
    assert list(near_keys({"MASSIVE_API_KEY": "a", "MASSIVE_API_KEY_2": "b"})) == []
