"""`stanchion batch`: what is asked, what is written, what is said, and the exit codes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from stanchion.simulator import SimulatorOptions
from tests.acceptance.batch_command import Folder
from tests.acceptance.stage import Provider

ROWS = [{"id": f"r{number}", "text": f"Row {number} says hello"} for number in range(20)]
RUN = ("run", "in.jsonl", "-t", "ask.j2", "-m", "sim-echo", "-o", "out.jsonl")


@pytest.fixture(scope="module")
def shared() -> Iterator[Provider]:
    with Provider(SimulatorOptions()) as running:
        yield running


@pytest.fixture
def provider(shared: Provider) -> Provider:
    shared.plan()
    return shared


@pytest.fixture
def folder(tmp_path: Path, provider: Provider) -> Folder:
    made = Folder(tmp_path, provider)
    made.write("in.jsonl", ROWS)
    made.write("ask.j2", "{{ text }}")
    return made


def line(custom_id: str, text: str, model: str = "sim-echo") -> dict[str, object]:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def test_openais_lines_become_openais_answers_and_errors(folder: Folder, provider: Provider) -> None:
    folder.write("in.jsonl", [line("a", "one"), line("b", "two"), line("c", "one"), line("d", "x", "gone")])
    with (folder.path / "in.jsonl").open("ab") as file:
        file.write(b'{"custom_id": "e", "body": {"mod\n')
    done = folder.batch("run", "in.jsonl", "-o", "out.jsonl", "--errors", "bad.jsonl")
    assert done.returncode == 2, done.stderr
    out = folder.lines("out.jsonl")
    assert [each["custom_id"] for each in out] == ["a", "b", "c"]
    texts = [each["response"]["body"]["choices"][0]["message"]["content"] for each in out]
    assert texts == ["one", "two", "one"]
    assert len([each for each in provider.calls if each.model == "sim-echo"]) == 2, "twins are asked once"
    unknown, broken = folder.lines("bad.jsonl")
    assert (unknown["custom_id"], unknown["row"]) == ("d", 4)
    assert (broken["row"], broken["error"]["code"]) == (5, "invalid_row")
    assert "in.jsonl, row 5" in broken["error"]["message"]
    assert "Mend the row" in broken["advice"]
    assert "5 rows, 3 answered, 2 failed" in done.stderr
    assert "bad.jsonl: why rows failed" in done.stderr


def test_a_body_without_a_model_gets_the_one_that_is_chosen(folder: Folder, provider: Provider) -> None:
    folder.write("in.jsonl", [{"messages": [{"role": "user", "content": "hi"}]}])
    done = folder.batch("run", "in.jsonl", "-o", "out.jsonl", "-m", "sim-echo", "--params", '{"seed": 7}')
    assert done.returncode == 0, done.stderr
    assert folder.lines("out.jsonl")[0]["custom_id"] == "row-1"


def test_rows_from_standard_input(folder: Folder) -> None:
    given = b"".join(json.dumps(each).encode() + b"\n" for each in ROWS)
    done = folder.batch("run", "-", "-t", "ask.j2", "-m", "sim-echo", "-o", "out.csv", given=given)
    assert done.returncode == 0, done.stderr
    assert (
        (folder.path / "out.csv")
        .read_text("utf-8")
        .splitlines()[1]
        .startswith("r0,Row 0 says hello,Row 0 says hello,ok,")
    )
    (folder.path / "out.csv").unlink()
    assert folder.batch("retry", "out.csv").returncode == 0, "what was piped in is kept"
    assert (folder.path / "out.csv").exists()


def test_failures_are_kept_until_they_are_to_be_retried(folder: Folder, provider: Provider) -> None:
    provider.plan("400,rate=1")
    first = folder.batch(*RUN)
    assert first.returncode == 2, first.stderr
    assert all(each["answer_status"] == "failed" for each in folder.lines("out.jsonl"))
    provider.plan()
    assert folder.batch(*RUN).returncode == 2
    assert provider.calls == [], "what failed for good is not asked again by itself"
    again = folder.batch("retry", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert len(provider.calls) == len(ROWS)
    assert [each["answer"] for each in folder.lines("out.jsonl")] == [each["text"] for each in ROWS]
    assert not (folder.path / "out.errors.jsonl").exists()


def test_fresh_forgets_what_was_paid(folder: Folder, provider: Provider) -> None:
    assert folder.batch(*RUN).returncode == 0
    assert folder.batch(*RUN, "--fresh").returncode == 0
    assert len(provider.calls) == 2 * len(ROWS)


def test_a_sample_is_taken_over_by_the_whole_job(folder: Folder, provider: Provider) -> None:
    assert folder.batch(*RUN, "--sample", "5").returncode == 0
    sampled = len(provider.calls)
    assert 4 <= sampled <= 5
    assert len(folder.lines("out.jsonl")) == sampled
    told = json.loads(
        folder.batch(
            "estimate", "in.jsonl", "-t", "ask.j2", "-m", "sim-echo", "-o", "out.jsonl", "--json"
        ).stdout
    )
    assert (told["rows"], told["answered"], told["answers_known"]) == (20, sampled, True)
    assert folder.batch(*RUN).returncode == 0
    assert len(provider.calls) == len(ROWS)
    last = json.loads(folder.batch("status", "out.jsonl", "--json").stdout)["last"]
    assert (last["before"], last["twins"], last["stage"]) == (sampled, 0, "done")
    assert (folder.path / "out.jsonl.stanchion").stat().st_mode & 0o077 == 0, "its owner's alone"


def test_the_cap_is_kept_and_the_job_goes_on_with_a_higher_one(folder: Folder, provider: Provider) -> None:
    rows = [{"text": f"{number} " + "word " * 200} for number in range(120)]
    folder.write("in.jsonl", rows)
    capped = (*RUN, "--params", '{"max_completion_tokens": 250}')
    cap = 0.03
    first = folder.batch(*capped, "--max-cost", str(cap))
    assert first.returncode == 3, first.stderr
    assert "run it again with a higher --max-cost" in first.stderr
    assert not (folder.path / "out.jsonl").exists(), "the output is whole or not there"
    told = json.loads(folder.batch("status", "out.jsonl", "--json").stdout)
    spent = told["spent_micro_usd"] / 1e6
    # each row: what its 1,000 bytes and 250 tokens can cost is held, some 0.0016 dollars; 0.0006 is what it costs
    assert 0.95 * cap - 0.0017 <= spent <= cap
    asked = len(provider.calls)
    assert math.isclose(spent, asked * spent / told["answered"], rel_tol=0.01)
    again = folder.batch(*capped, "--max-cost", str(cap))
    assert (again.returncode, len(provider.calls)) == (3, asked), "a cap holds over all runs"
    last = folder.batch(*capped, "--max-cost", "1")
    assert last.returncode == 0, last.stderr
    assert len(provider.calls) == len(rows)


def test_a_model_without_a_price_needs_one_under_a_cap(folder: Folder, provider: Provider) -> None:
    refused = folder.batch(*RUN, "-m", "other", "--max-cost", "1")
    assert refused.returncode == 2
    assert "no price is known of other/other" in refused.stderr
    assert "--price-as" in refused.stderr
    told = folder.batch(
        "estimate",
        "in.jsonl",
        "-t",
        "ask.j2",
        "-m",
        "other",
        "--price-as",
        "sim/sim-echo",
        "--params",
        '{"max_tokens": 10}',
    )
    assert "cost, at once" in told.stdout
    assert provider.calls == []


def test_a_dry_run_asks_nobody(folder: Folder, provider: Provider) -> None:
    done = folder.batch(*RUN, "--dry-run", "--params", '{"max_completion_tokens": 10}')
    assert done.returncode == 0, done.stderr
    assert "rows" in done.stdout
    assert "at most 200" in done.stdout
    assert "cost, at once" in done.stdout
    assert provider.calls == []
    assert not (folder.path / "out.jsonl.stanchion").exists()


def test_rows_are_judged_before_anything_is_asked(folder: Folder, provider: Provider) -> None:
    folder.write("in.jsonl", [*ROWS[:2], {"id": "x"}, ROWS[3]])
    with (folder.path / "in.jsonl").open("ab") as file:
        file.write(b'{"text": nil}\n')
    done = folder.batch(*RUN, "--validate-only")
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "in.jsonl:3: ask.j2:1:4: the row has no column 'text'; it has 'id'",
        "in.jsonl:5:11: the row cannot be read: JSON is malformed: invalid character (byte 10)",
    ]
    assert "3 of 5 rows can be asked" in done.stderr
    assert provider.calls == []


def test_one_bad_row_does_not_stop_the_others(folder: Folder) -> None:
    folder.write("in.jsonl", [ROWS[0], {"id": "x"}, ROWS[2]])
    done = folder.batch(*RUN)
    assert done.returncode == 2
    assert [each["answer_status"] for each in folder.lines("out.jsonl")] == ["ok", "failed", "ok"]
    (bad,) = folder.lines("out.errors.jsonl")
    assert (bad["row"], bad["error"]["code"]) == (2, "template_mismatch")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("in.jsonl", "-o", "out.jsonl", "-t", "none.j2", "-m", "sim-echo"), "none.j2: No such file"),
        (("none.jsonl", "-o", "out.jsonl"), "none.jsonl: No such file"),
        (("in.jsonl", "-o", "in.jsonl"), "the output is the input"),
        (("in.jsonl", "-o", "none/out.jsonl"), "no such folder for the output"),
        (("in.jsonl", "-o", "out.jsonl", "-t", "ask.j2"), "a template needs a model"),
        (
            ("in.jsonl", "-o", "out.jsonl", "-t", "bad.j2", "-m", "sim-echo"),
            "bad.j2:1:4: the row has no column 'txet'",
        ),
        (("in.jsonl", "-o", "out.jsonl", "-t", "broken.j2", "-m", "sim-echo"), "broken.j2:2: "),
        (("in.jsonl", "-o", "out.jsonl", "-t", "ask.j2", "-m", "gone"), "no route and no provider serves"),
        (("in.jsonl", "-o", "out.jsonl", "--shard", "3/2"), "is no share"),
        (("in.jsonl", "-o", "out.jsonl", "--max-cost", "much"), "is no sum of dollars"),
        (("in.jsonl", "-o", "out.jsonl", "--sample", "3", "--limit", "3"), "does not go with --limit"),
        (("in.jsonl", "-o", "out.jsonl", "--params", "[]"), "--params: not a JSON object"),
        (("in.jsonl", "-o", "out.jsonl", "--schema", "bad.json"), "bad: not a JSON schema: $.type"),
        (("in.jsonl", "-o", "out.csv", "--format", "openai"), "OpenAI's output lines are JSONL"),
        (("in.csv", "-o", "out.csv"), "say with --template what to ask"),
        (("in.csv", "-o", "out.csv", "-t", "ask.j2", "-m", "sim-echo"), "has a column 'answer' already"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_asked(
    folder: Folder, provider: Provider, arguments: tuple[str, ...], told: str
) -> None:
    folder.write("bad.j2", "{{ txet }}")
    folder.write("broken.j2", "a\n{{ text")
    folder.write("bad.json", '{"type": "objct"}')
    folder.write("in.csv", "text,answer\na,b\n")
    done = folder.batch("run", *arguments)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    said = [each for each in done.stderr.splitlines() if each and not each.startswith(("Usage:", "Try "))]
    assert len(said) == 1
    assert provider.calls == []


def test_shares_are_put_together_in_the_inputs_order(folder: Folder, provider: Provider) -> None:
    assert folder.batch(*RUN).returncode == 0
    whole = (folder.path / "out.jsonl").read_bytes()
    for share in (1, 2, 3):
        done = folder.batch(*RUN[:-1], f"s{share}.jsonl", "--shard", f"{share}/3", "--max-cost", "1")
        assert done.returncode == 0, done.stderr
    merged = folder.batch("merge", "s1.jsonl", "s2.jsonl", "s3.jsonl", "-o", "all.jsonl")
    assert merged.returncode == 0, merged.stderr
    assert (folder.path / "all.jsonl").read_bytes() == whole
    partly = folder.batch("merge", "s1.jsonl", "s2.jsonl", "-o", "some.jsonl")
    assert "without an answer are left out" in partly.stderr
    folder.write("ask.j2", "Another: {{ text }}")
    other = folder.batch(*RUN[:-1], "other.jsonl", "--answer-column", "said")
    assert other.returncode == 0
    refused = folder.batch("merge", "s1.jsonl", "other.jsonl", "-o", "all.jsonl")
    assert "is no share of the job" in refused.stderr


def test_answers_can_be_exported_in_another_form(folder: Folder, provider: Provider) -> None:
    assert folder.batch(*RUN, "--id-field", "id").returncode == 0
    calls = len(provider.calls)
    assert folder.batch("export", "out.jsonl", "-o", "as.csv").returncode == 0
    assert (
        (folder.path / "as.csv")
        .read_text("utf-8")
        .splitlines()[1]
        .startswith("r0,Row 0 says hello,Row 0 says hello,ok")
    )
    assert folder.batch("export", "out.jsonl", "-o", "as.jsonl", "--format", "openai").returncode == 0
    assert folder.lines("as.jsonl")[0]["custom_id"] == "r0"
    assert len(provider.calls) == calls


def test_progress_is_told_to_machines(folder: Folder) -> None:
    done = folder.batch(*RUN, "--progress", "json")
    told = [json.loads(each) for each in done.stderr.splitlines()]
    assert told[-1] == {
        "ended": "done",
        "exit_code": 0,
        "rows": 20,
        "rows_failed": 0,
        "undone": 0,
        "output": str(folder.path / "out.jsonl"),
    }
    assert told[-2]["stage"] == "done"
    assert (told[-2]["rows"], told[-2]["done"], told[-2]["rows_exact"]) == (20, 20, True)
    assert {each["kind"] for each in told[-2]["limits"]} == {"requests", "tokens"}
    quiet = folder.batch(*RUN, "--progress", "none")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_the_order_of_completion_is_that_of_the_journal(folder: Folder) -> None:
    done = folder.batch(*RUN, "--order", "completion")
    assert done.returncode == 0, done.stderr
    assert sorted(each["id"] for each in folder.lines("out.jsonl")) == sorted(each["id"] for each in ROWS)


def test_a_job_that_nobody_began_has_no_status(folder: Folder) -> None:
    for command in (
        ("status", "none.jsonl"),
        ("retry", "none.jsonl"),
        ("export", "none.jsonl", "-o", "x.jsonl"),
    ):
        done = folder.batch(*command)
        assert done.returncode == 1
        assert "there is no job that writes" in done.stderr
