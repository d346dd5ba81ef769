import re
from pathlib import Path

import pytest

from pipeline.setting_keys import CONNECTION_KEYS, KEYS, Key, Settings, connection_key, known_keys
from pipeline.setting_layers import read_yaml, shipped_file

ROOT = Path(__file__).parent.parent
SPECIFIED = {  # what TickStock's configuration has always had
    "USE_MULTI_CONNECTION": False,
    "WEBSOCKET_CONNECTIONS_MAX": 3,
    "WEBSOCKET_ROUTING_STRATEGY": "manual",
    "WEBSOCKET_CONNECTION_1_ENABLED": True,
    "WEBSOCKET_CONNECTION_1_NAME": "primary",
    "WEBSOCKET_CONNECTION_1_UNIVERSE_KEY": "",
    "WEBSOCKET_CONNECTION_1_SYMBOLS": "",
    "WEBSOCKET_CONNECTION_2_ENABLED": False,
    "WEBSOCKET_CONNECTION_2_NAME": "secondary",
    "WEBSOCKET_CONNECTION_2_UNIVERSE_KEY": "",
    "WEBSOCKET_CONNECTION_2_SYMBOLS": "",
    "WEBSOCKET_CONNECTION_3_ENABLED": False,
    "WEBSOCKET_CONNECTION_3_NAME": "tertiary",
    "WEBSOCKET_CONNECTION_3_UNIVERSE_KEY": "",
    "WEBSOCKET_CONNECTION_3_SYMBOLS": "",
    "WEBSOCKET_HEALTH_CHECK_INTERVAL": 30,
    "WEBSOCKET_AUTO_REBALANCE": True,
    "WEBSOCKET_FAILOVER_ENABLED": True,
}
TABLE = {
    **KEYS,
    **{
        f"WEBSOCKET_CONNECTION_{number}_{part}": connection_key(number, part)
        for number in (1, 2, 3)
        for part in CONNECTION_KEYS
    },
}


@pytest.mark.parametrize("name", SPECIFIED)
def test_specified_defaults(name):
    """A TickStock user's configuration would mean something else here."""
    assert TABLE[name].default == SPECIFIED[name]


def test_shipped_file_says_what_the_table_says():
    """A user reads settings.yaml and would be told a wrong default or meaning."""
    lines = shipped_file().read_text(encoding="utf-8").splitlines()
    content = read_yaml(shipped_file())
    content.pop("universes")
    assert content == {name: key.default for name, key in TABLE.items()}
    for name, key in TABLE.items():
        assert any(line.startswith(f"{name}:") and line.endswith(f"  # {key.doc}") for line in lines), name


def _row(name: str, key: Key) -> str:
    default = "empty" if key.default == "" else f"`{str(key.default).lower()}`"
    if isinstance(key.default, str) and key.default:
        default = f"`{key.default}`"
    return f"| `{name}` | {default if key.default is not None else '—'} | {key.doc} | {key.kind.expected} |"


def test_guide_has_a_row_for_every_key_and_no_other():
    """A user of docs/configuration.md would miss a key, or find one that is none."""
    rows = [
        line
        for line in (ROOT / "docs/configuration.md").read_text(encoding="utf-8").splitlines()
        if re.match(r"\| `[A-Z]", line)
    ]
    pattern = {f"WEBSOCKET_CONNECTION_n_{part}": key for part, key in CONNECTION_KEYS.items()}
    assert sorted(rows) == sorted(_row(name, key) for name, key in {**KEYS, **pattern}.items())


def test_guide_counts_the_shipped_universes():
    """A user would ask for a universe that is not there, or of another size."""
    guide = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    universes = read_yaml(shipped_file())["universes"]
    listed = dict(re.findall(r"^\| `([a-z_0-9]+:[a-z_0-9]+)` \| (\d+) \|$", guide, re.MULTILINE))
    assert listed == {key: str(len(symbols.split(","))) for key, symbols in universes.items()}


def test_env_example_holds_known_keys_only():
    """A newcomer's first .env would set something that is silently ignored."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    names = re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE)
    assert names
    assert set(names) <= set(known_keys(3))


def test_every_key_is_an_attribute():
    """A key could be set and never be read."""
    defaults = Settings()
    for name, key in KEYS.items():
        value = getattr(defaults, name.lower())
        assert key.default is None or value == key.kind.read(key.default)
