"""Real input: 500 English and 500 Chinese dialogues are classified by what they are about, end to end."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stanchion.simulator import SimulatorOptions
from tests.acceptance.batch_command import Folder
from tests.acceptance.stage import Provider

DATA = Path(__file__).parents[1] / "data"
# what a dialogue of each service of the English corpus is about
TOPICS = {
    "Homes_1": "apartment",
    "Services_4": "therapist",
    "Weather_1": "weather",
    "Banks_2": "account",
    "Restaurants_2": "restaurant",
    "Music_1": "song",
    "Alarm_1": "alarm",
    "Media_2": "movie",
    "Hotels_4": "hotel",
    "Hotels_1": "hotel",
    "RentalCars_1": "car",
    "Events_1": "event",
}
CHINESE = ["酒店", "餐馆", "景点", "地铁", "出租车"]
ENGLISH_TEMPLATE = """\
{% message system %}You sort conversations by what they are about.{% endmessage %}
{% message user %}
What does the user want?
{% for turn in turns %}
{{ turn.role }}: {{ turn.text }}
{% endfor %}
{% endmessage %}
"""


def dialogues(language: str) -> list[dict[str, Any]]:
    raw = gzip.decompress((DATA / f"dialogues_{language}.jsonl.gz").read_bytes())
    return [json.loads(line) for line in raw.splitlines()]


def schema(labels: Sequence[str]) -> str:
    intent = {"type": "object", "properties": {"intent": {"enum": list(labels)}}}
    return json.dumps({**intent, "required": ["intent"], "additionalProperties": False}, ensure_ascii=False)


def named_most(text: str, labels: Sequence[str]) -> str | None:
    """The rule by which the simulator chooses, found again from the corpus itself; None if nothing is named."""
    times = [text.lower().count(label) for label in labels]
    return labels[times.index(max(times))] if max(times) else None


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(SimulatorOptions()) as running:
        yield running


@pytest.mark.timeout(240)
def test_english_dialogues_are_sorted_by_their_service(tmp_path: Path, provider: Provider) -> None:
    provider.plan("503,rate=0.02", "500,rate=0.02")  # as it is in life
    folder, rows = Folder(tmp_path, provider), dialogues("en")
    labels = list(dict.fromkeys(TOPICS.values()))
    folder.write("in.jsonl", rows)
    folder.write("ask.j2", ENGLISH_TEMPLATE)
    folder.write("intent.json", schema(labels))
    done = folder.batch(
        *("run", "in.jsonl", "-t", "ask.j2", "-m", "gpt-4o-mini", "--schema", "intent.json"),
        *("--id-field", "id", "-o", "out.jsonl", "--max-cost", "1"),
    )
    assert done.returncode == 0, done.stderr
    out = folder.lines("out.jsonl")
    assert [each["id"] for each in out] == [each["id"] for each in rows], "one answer a row, in order"
    assert all(each["answer_status"] == "ok" for each in out)
    right = 0
    for row, answer in zip(rows, out, strict=True):
        text = "".join(f"{turn['role']}: {turn['text']}\n" for turn in row["turns"])
        wanted = named_most(text, labels)
        said = answer["answer"]["intent"]
        assert said == wanted if wanted is not None else said in labels
        right += said in {TOPICS[service] for service in row["services"]}
        assert row["turns"] == answer["turns"], "the row is kept as it was"
    assert right / len(rows) >= 0.95
    paid = sum(each["answer_cost_usd"] for each in out)
    assert 0 < paid < 1
    assert f"${paid:.6f} in all" in done.stderr


@pytest.mark.timeout(240)
def test_chinese_dialogues_are_sorted_from_a_table_into_a_table(tmp_path: Path, provider: Provider) -> None:
    provider.plan()
    pq = pytest.importorskip("pyarrow.parquet", reason="the extra parquet is not installed")
    folder = Folder(tmp_path, provider)
    rows = [(each["id"], "\n".join(turn["text"] for turn in each["turns"])) for each in dialogues("zh")]
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("编号", "对话"), *rows])
    folder.write("in.csv", table.getvalue())
    folder.write("ask.j2", "{{ 对话 }}")
    folder.write("system.j2", "判断用户想找什么。")
    folder.write("intent.json", schema(CHINESE))
    options = (
        "-t",
        "ask.j2",
        "-s",
        "system.j2",
        "-m",
        "gpt-4o-mini",
        "--schema",
        "intent.json",
        "--id-field",
        "编号",
    )
    done = folder.batch("run", "in.csv", *options, "-o", "out.parquet")
    assert done.returncode == 0, done.stderr
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(each["编号"], each["对话"]) for each in found] == rows
    for (_, text), answer in zip(rows, found, strict=True):
        wanted = named_most(text, CHINESE)
        assert wanted is None or json.loads(answer["answer"]) == {"intent": wanted}
    assert {json.loads(each["answer"])["intent"] for each in found} >= {"酒店", "餐馆", "景点", "地铁"}
    asked = len(provider.calls)
    assert asked == len(rows)
    # the same command once more asks nobody, and writes the same bytes
    before = (tmp_path / "out.parquet").read_bytes()
    (tmp_path / "out.parquet").unlink()
    assert folder.batch("run", "in.csv", *options, "-o", "out.parquet").returncode == 0
    assert (tmp_path / "out.parquet").read_bytes() == before
    assert len(provider.calls) == asked
