"""What a hostile server says, on every surface where it can be seen."""

import inspect
import io
import json
import logging
import re
import typing
from dataclasses import replace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from rich.console import Console

from operators.account import Account
from pipeline import build_pipeline, status
from pipeline.cli.logs import LogHandler
from pipeline.cli.run import Teller
from pipeline.cli.screen import account_lines, summary
from pipeline.cli.top_screen import lost, picture
from pipeline.health.history import EventLine
from pipeline.health.leaders import BusyTicker, SlowTicker, Tickers
from pipeline.health.metrics import Exposition
from pipeline.health.readings import printable
from pipeline.redaction import RedactingFilter
from pipeline.sinks.callback import CallbackSink
from tests.cli.test_screen import CALLBACK, PRIMARY, READING
from tests.cli.test_top import connection, frame
from tests.hostile import HOSTILE, UNFIT

KINDS = [
    kind
    for kind in vars(status).values()
    if inspect.isclass(kind) and issubclass(kind, status.StatusEvent) and kind is not status.StatusEvent
]
PLAIN = {int: 1, float: 1.0, bool: True}


def said(kind, text):
    """Return an event of a kind in which every text, ticker and channel is this one."""

    def value(wanted):
        if wanted in PLAIN:
            return PLAIN[wanted]
        arguments = typing.get_args(wanted)
        if typing.get_origin(wanted) is tuple:
            return (value(arguments[0]),) * 7
        if typing.get_origin(wanted) is typing.Literal:
            return arguments[-1]
        if inspect.isclass(wanted) and (hints := typing.get_type_hints(wanted)):
            return wanted(**{name: value(hint) for name, hint in hints.items()})
        return text if wanted is str or str in arguments else value(arguments[0])

    fields = msgspec.structs.fields(kind)
    return kind(**{field.name: value(field.type) for field in fields})


def check(text, *, lines=1):
    """Hold that nothing in a text is obeyed, and that it is so many lines."""
    assert not UNFIT.difference("\n").intersection(text)
    assert text.count("\n") == lines - 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_says_in_one_line_what_a_server_said(kind):
    """A close reason could forge a line of the log, of ``run`` or of the page."""
    for text in HOSTILE:
        event = said(kind, text)
        check(event.describe())
        assert len(event.describe()) < 12_000
        if "\ud800" not in text:
            again = msgspec.json.decode(msgspec.json.encode(event), type=kind)
            assert again == event, "as data it is as it came"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("log_format", ["human", "json"])
def test_what_run_prints_is_a_line_an_event(text, log_format, capsys):
    """Who reads the lines of a service, or a program that does, would take forged ones for ours."""
    teller = Teller(log_format)
    for kind in KINDS:
        teller.tell_event(said(kind, text))
        teller.tell_trouble(text)
    printed = capsys.readouterr().err
    check(printed, lines=2 * len(KINDS) + 1)
    if log_format == "json":
        events = [json.loads(line) for line in printed.splitlines()]
        assert {event["message"] for event in events if event["event"] == "Error"} == {text}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("log_format", ["human", "json"])
def test_a_log_record_is_one_line_and_its_traceback_indented(text, log_format, capsys):
    """What is logged as an error could begin a line of its own, with any level and time."""
    logger = logging.Logger("tickbraid.x")  # noqa: LOG001  # nobody else's
    logger.addHandler(LogHandler(log_format, RedactingFilter("hunter2")))
    logger.warning("the server says %s", text)
    check(capsys.readouterr().err, lines=2)
    logger.error("raised on %s", text, exc_info=ValueError(text))
    first, *rest = capsys.readouterr().err.splitlines()
    check(first)
    assert all(line.startswith("    ") for line in rest)
    check("".join(rest))


def drawn(renderable):
    """Return what a terminal is sent."""
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system="truecolor")
    console.print(renderable)
    return console.file.getvalue()


STYLES = re.compile("\x1b\\[[0-9;]*m")
"""Rich's own."""


@pytest.mark.parametrize("text", HOSTILE)
def test_the_tables_of_the_terminal_have_no_markup_and_no_controls_but_ours(text):
    """A ticker could paint over the figures, or end ``top`` by markup that is none."""
    reading = replace(
        READING,
        connections=(replace(PRIMARY, name=text, phase=text),),
        subscribers=(replace(CALLBACK, name=text, state=text),),
    )
    shown_frame = frame(connection(1, name=text, concern=text))
    told = replace(
        shown_frame,
        events=[EventLine(1, 1, text, text, text, warning=True)],
        tickers=Tickers(1.0, 1, [BusyTicker(text, [text], 1.0)], [SlowTicker(text, text, [text], 1.0, 1.0)]),
    )
    for renderable in (picture(told, text, 160), lost(None, text)):
        printed = STYLES.sub("", drawn(renderable))
        assert not UNFIT.difference("\n").intersection(printed)
        if text.startswith("[red]"):
            assert "[red]" in printed
    check(summary(reading))
    check("".join(account_lines({text: {text: Account(1, 1)}}, {text: text})))


@pytest.mark.parametrize("text", [text for text in HOSTILE if text])
@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
def test_an_exposition_is_parsed_and_has_the_same_labels(text, accept):
    """One name would break the scrape of all metrics, or add some."""
    with build_pipeline({}) as stream:
        stream.attach(CallbackSink(lambda _: None, text))
        exposition = Exposition(stream)
        body, _ = exposition.write(accept)
        exposition.close()
    printed = body.decode()
    check(printed, lines=printed.count("\n") + 1)
    families = list(parse_text(printed))
    sinks = {
        sample.labels["sink"] for family in families for sample in family.samples if "sink" in sample.labels
    }
    assert printable(text) in sinks
    assert all(family.name.startswith(("tickbraid_", "process_")) for family in families)
