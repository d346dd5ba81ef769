import json
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shown import MOST_CHARACTERS, json_line, shown, shown_lines
from tests.hostile import HOSTILE, UNFIT

TEXTS = st.text() | st.sampled_from(HOSTILE)


@given(TEXTS)
def test_what_is_shown_is_one_bounded_line_that_nobody_obeys(text):
    """A server could forge a line of a log, or move the cursor of whoever looks."""
    line = shown(text)
    assert line.isprintable()
    assert not UNFIT.intersection(line)
    assert len(line) <= 10 * (MOST_CHARACTERS + 40)


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=MOST_CHARACTERS))
def test_what_is_fit_to_be_shown_is_shown_as_it_is(text):
    """Tickers and names of any language would be unreadable."""
    assert shown(text) == text
    assert json_line(text).count("\\u") == 0


def test_of_a_long_text_the_beginning_is_shown_and_how_long_it_was():
    """A close reason of a MiB would be a MiB in every log."""
    assert shown("x" * 5000) == "x" * MOST_CHARACTERS + "… (5,000 characters)"
    assert shown("ab\ncd", 3) == "ab\\n… (5 characters)"


@pytest.mark.parametrize("character", sorted(UNFIT))
def test_each_unfit_character_is_told_by_its_escape(character):
    """Nobody could see what was sent."""
    assert shown(f"a{character}b") == f"a{character.encode('unicode_escape').decode()}b"
    assert unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Cs"}


@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS)))
def test_json_is_the_same_to_a_parser_and_safe_to_a_terminal(value):
    """A log collector would read another text, or a terminal obey one."""
    text = json_line(value)
    assert text.isprintable()
    assert not UNFIT.intersection(text)
    assert json.loads(text) == value


@given(TEXTS)
def test_no_line_of_a_traceback_can_look_like_a_line_of_its_own(text):
    """An exception's text with a line end could forge what was logged."""
    first, *rest = shown_lines(f"ValueError: {text}\n12:00:00 ERROR: forged").split("\n")
    assert first.startswith("ValueError")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_json_of_plain_values_is_msgspec_s():
    """Machines that read it would see another format."""
    value = {"event": "Loss", "at_ns": 1, "tickers": ("AAPL", "Ä"), "none": None}
    assert json_line(value).encode() == msgspec.json.encode(value)
