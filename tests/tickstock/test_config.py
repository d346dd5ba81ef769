import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.setting_keys import KEYS
from pipeline.settings import is_known
from pipeline.tickstock.config import settings_of, stream_settings_of
from tests.tickstock.harness import FOREIGN

VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=20).filter(lambda name: not is_known(name.upper())), VALUES))
def test_foreign_keys_are_left_alone(config):
    """TickStock hands over its whole configuration: none of its keys may be an error here, or be changed."""
    before = copy.deepcopy(config)
    assert stream_settings_of(config) == stream_settings_of({})
    assert config == before


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("MASSIVE_WEBSOCKET_MAX_RETRYS", "MASSIVE_WEBSOCKET_MAX_RETRIES"),
        ("WEBSOCKET_CONNECTION_1_SYMBOL", "WEBSOCKET_CONNECTION_1_SYMBOLS"),
        ("websocket_failover_enable", "WEBSOCKET_FAILOVER_ENABLED"),
        ("MASIVE_EVENT_TYPES", "MASSIVE_EVENT_TYPES"),
    ],
)
def test_a_slip_of_the_pen_is_told(caplog, typo, meant):
    """A setting would do nothing, and nobody would know."""
    stream_settings_of({typo: "x"})
    assert f"{typo.upper()} is no key of Tickbraid: did you mean {meant}?" in caplog.text


def test_tickstock_s_own_keys_are_no_slips(caplog):
    """A start with twenty warnings is one whose warnings nobody reads."""
    stream_settings_of(FOREIGN)
    assert not caplog.records


@pytest.mark.parametrize("last", ["RECONNECT_MAX_DELAY", "MAX_RECONNECT_DELAY"])
def test_tickstock_s_name_of_the_longest_delay_counts(last):
    """The retry settings would be honoured but for one."""
    assert settings_of({f"MASSIVE_WEBSOCKET_{last}": "60"}).massive_websocket_reconnect_max_delay == 60


def test_every_flag_comes_as_text():
    """TickStock reads its environment as text; "false" is no true value."""
    flags = [name for name, key in KEYS.items() if isinstance(key.default, bool)]
    off = settings_of(dict.fromkeys(flags, "false"))
    assert [name for name in flags if getattr(off, name.lower())] == ["WEBSOCKET_START_EMPTY"]


def test_nothing_counts_as_not_set(monkeypatch):
    """TickStock's dict holds None where nobody set anything: the environment must come through."""
    monkeypatch.setenv("MASSIVE_EVENT_TYPES", "Q")
    assert settings_of({"MASSIVE_EVENT_TYPES": None}).massive_event_types == ("Q",)
    assert settings_of({"MASSIVE_EVENT_TYPES": "T"}).massive_event_types == ("T",)
    both = {"MASSIVE_WEBSOCKET_RECONNECT_MAX_DELAY": None, "MASSIVE_WEBSOCKET_MAX_RECONNECT_DELAY": 60}
    assert settings_of(both).massive_websocket_reconnect_max_delay == 60
