"""A log line is one JSON object: what all lines have, then the event's facts."""

from __future__ import annotations

import io
import json
import logging

import pytest

from stanchion.observe.logs import Line, Lines, json_line

AT = 1_764_000_000.0


def read(line: Line) -> dict[str, object]:
    return dict(json.loads(json_line(line)))


def test_a_line_has_its_time_level_logger_event_and_facts_in_this_order() -> None:
    line = Line(AT + 0.25, logging.INFO, "stanchion.calls", "call.ended", {"id": "req_1", "code": None})
    assert list(read(line).items()) == [
        ("at", "2025-11-24T16:00:00.250+00:00"),
        ("level", "info"),
        ("logger", "stanchion.calls"),
        ("event", "call.ended"),
        ("id", "req_1"),
        ("code", None),
    ]


@pytest.mark.parametrize(
    ("fraction", "shown"), [(0.0, "000"), (0.001, "001"), (0.0625, "062"), (0.9995, "999")]
)
def test_a_line_tells_whole_milliseconds(fraction: float, shown: str) -> None:
    assert read(Line(AT + fraction, logging.INFO, "a", "b", {}))["at"] == f"2025-11-24T16:00:00.{shown}+00:00"


def test_a_line_without_facts_is_an_object_too() -> None:
    assert read(Line(AT, logging.WARNING, "a", "b", {})).keys() == {"at", "level", "logger", "event"}


def test_words_with_quotes_and_line_ends_stay_in_one_line() -> None:
    line = Line(AT, logging.ERROR, 'a"b', "two\nlines", {"why": 'a "quoted"\nword'}, "Traceback:\n  x")
    assert "\n" not in json_line(line)
    found = read(line)
    assert (found["logger"], found["event"]) == ('a"b', "two\nlines")
    assert (found["why"], found["traceback"]) == ('a "quoted"\nword', "Traceback:\n  x")


def test_a_traceback_leaves_the_facts_as_they_were() -> None:
    facts = {"id": "req_1"}
    read(Line(AT, logging.ERROR, "a", "b", facts, "Traceback"))
    assert facts == {"id": "req_1"}


def test_each_level_of_an_event_has_its_own_word() -> None:
    levels = [read(Line(AT, level, "a", "b", {}))["level"] for level in (logging.INFO, logging.ERROR)]
    assert levels == ["info", "error"]


def test_lines_are_written_whole_and_in_order() -> None:
    out = io.StringIO()
    lines = Lines(out, json_line)
    for number in range(3):
        lines.add(Line(AT, logging.INFO, "a", "b", {"number": number}))
    lines.close()
    assert [json.loads(each)["number"] for each in out.getvalue().splitlines()] == [0, 1, 2]
