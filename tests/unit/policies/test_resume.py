"""Resume: a cut stream goes on with the verified rest, or is said to be cut."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.core.call import Call, Operation
from stanchion.core.errors import Cut, Refused, StanchionError
from stanchion.core.reply import End, Reply
from stanchion.core.service import Service, stack
from stanchion.core.usage import Usage
from stanchion.observe.metrics import Metrics
from stanchion.policies.resume import Resume, ResumeOptions
from stanchion.policies.retry import Retry, RetryOptions
from stanchion.testing import (
    DONE,
    ScriptedProvider,
    VirtualTimeLoop,
    chat_answer,
    chat_call,
    chat_chunk,
    chat_stream,
    tool_chunk,
    usage_chunk,
    virtual_time,
)
from stanchion.wire.answers import read_chat_events
from stanchion.wire.assemble import assemble
from tests.unit.policies.reading import cut, down, now, read, text_of


def resuming(service: Service, metrics: Metrics | None = None, **options) -> Service:
    return stack(Resume(ResumeOptions(**options), metrics or Metrics()), service=service)


def repeatable(**fields) -> Call:
    return chat_call(stream=True, temperature=0, **fields)


async def read_cut(reply) -> bytes:
    got: list[bytes] = []
    with pytest.raises(Cut):
        await read(reply, got)
    return b"".join(got)


@virtual_time
async def test_a_stream_that_is_not_cut_passes_through_byte_for_byte() -> None:
    provider = ScriptedProvider([1.0, *chat_stream("a", "b", usage=(1, 2))])
    reply = await resuming(provider)(repeatable())
    assert await read(reply) == b"".join(chat_stream("a", "b", usage=(1, 2)))
    assert (reply.head.endpoint, reply.usage, now()) == (provider.name, Usage(input=1, output=2), 1.0)
    assert provider.ends == [End.COMPLETED]


@virtual_time
async def test_after_a_cut_the_reader_gets_exactly_the_rest_under_the_first_identity() -> None:
    first = [*chat_stream("Hel", "lo wor", id="one")[:3], 2.0, cut()]
    second = [3.0, *chat_stream("H", "ello", " world", "!", id="two", usage=(3, 4))]
    provider, metrics = ScriptedProvider(first, second), Metrics()
    call = repeatable()
    reply = await resuming(provider, metrics)(call)
    raw = await read(reply)
    assert text_of(raw) == "Hello world!"
    assert raw.count(b'"one"') == len(read_chat_events(raw))
    assert b'"two"' not in raw
    assert raw.endswith(DONE)
    assert (now(), provider.ends, provider.open) == (5.0, [End.FAILED, End.COMPLETED], 0)
    assert metrics.resumes.of("resumed").value == 1
    assert call.trail.resumed == 1
    assert call.trail.usage == Usage(input=3, output=4 + 2, estimated=True)  # of both tries
    assert reply.usage == Usage(input=3, output=4)


@virtual_time
async def test_another_answer_ends_it_with_the_cut() -> None:
    provider, metrics = ScriptedProvider([*chat_stream("Hello")[:2], cut()], chat_stream("Help")), Metrics()
    reply = await resuming(provider, metrics)(repeatable())
    got: list[bytes] = []
    with pytest.raises(Cut) as raised:
        await read(reply, got)
    raw = b"".join(got)
    assert (raised.value.endpoint, text_of(raw)) == (provider.name, "Hello")  # the provider's own error
    assert DONE not in raw
    assert (reply.end, provider.ends, provider.open) == (End.FAILED, [End.FAILED, End.CANCELLED], 0)
    assert metrics.resumes.of("differs").value == 1


@pytest.mark.parametrize(
    "second",
    [
        chat_stream("Hel"),
        [*chat_stream("Hel")[:2], DONE],
        [DONE],
        [chat_chunk("Hello", field="reasoning_content"), *chat_stream("Hello")],
        [chat_chunk("Hel", finish="stop"), DONE],
        [tool_chunk("{}", name="f"), DONE],
    ],
)
def test_a_shorter_answer_or_one_with_more_before_it_ends_it_with_the_cut(second) -> None:
    @virtual_time
    async def run() -> None:
        provider, metrics = ScriptedProvider([*chat_stream("Hello")[:2], cut()], second), Metrics()
        raw = await read_cut(await resuming(provider, metrics)(repeatable()))
        assert (text_of(raw), DONE in raw) == ("Hello", False)
        assert metrics.resumes.of("differs").value == 1
        assert provider.open == 0

    run()


@virtual_time
async def test_cut_again_it_is_taken_up_again_as_often_as_is_allowed() -> None:
    def cut_after(*texts: str):
        return [*chat_stream(*texts)[: 1 + len(texts)], cut()]

    provider, metrics = ScriptedProvider(cut_after("a"), cut_after("a", "b"), cut_after("ab", "c")), Metrics()
    raw = await read_cut(await resuming(provider, metrics)(repeatable()))
    assert (text_of(raw), len(provider.calls)) == ("abc", 3)
    assert metrics.resumes.of("spent").value == 1

    provider = ScriptedProvider(cut_after("ab"), cut_after("a"), chat_stream("ab", "c"))
    assert text_of(await read(await resuming(provider)(repeatable()))) == "abc"

    provider = ScriptedProvider(cut_after("a"))
    assert text_of(await read_cut(await resuming(provider, most=0)(repeatable()))) == "a"


@virtual_time
async def test_when_nobody_answers_the_second_try_the_cut_is_raised() -> None:
    provider, metrics = ScriptedProvider([*chat_stream("a")[:2], cut()], down()), Metrics()
    reply = await resuming(provider, metrics)(repeatable())
    with pytest.raises(Cut) as raised:
        await read(reply)
    assert isinstance(raised.value.__cause__, Refused)
    assert metrics.resumes.of("refused").value == 1


@virtual_time
async def test_streams_that_are_cut_again_and_again_cost_no_more_than_the_retry_budget() -> None:
    provider, metrics = ScriptedProvider(forever=lambda: [*chat_stream("a")[:2], cut()]), Metrics()
    service = resuming(stack(Retry(RetryOptions(), metrics), service=provider), metrics)
    for _ in range(200):
        await read_cut(await service(repeatable()))
    assert len(provider.calls) == 200 + 20
    assert metrics.resumes.of("refused").value + metrics.resumes.of("spent").value == 200


@virtual_time
async def test_an_error_that_is_no_cut_is_not_resumed() -> None:
    provider = ScriptedProvider([*chat_stream("a")[:2], down()])
    with pytest.raises(Refused):
        await read(await resuming(provider)(repeatable()))
    assert len(provider.calls) == 1


@virtual_time
async def test_an_error_before_the_reply_passes() -> None:
    with pytest.raises(Refused):
        await resuming(ScriptedProvider(down()))(repeatable())


@pytest.mark.parametrize(
    ("mode", "fields", "resumes"),
    [
        ("auto", {"temperature": 0}, True),
        ("auto", {"temperature": 0.0}, True),
        ("auto", {"seed": 7}, True),
        ("auto", {"seed": 0}, True),
        ("auto", {}, False),
        ("auto", {"temperature": 0.7}, False),
        ("auto", {"temperature": 0, "n": 2}, False),
        ("auto", {"temperature": 0, "n": 1}, True),
        ("verify", {}, True),
        ("verify", {"n": 3}, False),
        ("error", {"temperature": 0}, False),
    ],
)
def test_it_resumes_only_where_the_answer_can_be_verified(mode, fields, resumes: bool) -> None:
    @virtual_time
    async def run() -> None:
        provider = ScriptedProvider([*chat_stream("a")[:2], cut()], chat_stream("ab"))
        reply = await resuming(provider, mode=mode)(chat_call(stream=True, **fields))
        if resumes:
            assert text_of(await read(reply)) == "ab"
        else:
            assert text_of(await read_cut(reply)) == "a"
        assert len(provider.calls) == 1 + resumes

    run()


@virtual_time
async def test_one_calls_options_go_over_the_configured_ones() -> None:
    provider = ScriptedProvider([*chat_stream("a")[:2], cut()])
    call = repeatable().having(options={ResumeOptions: ResumeOptions(mode="error")})
    await read_cut(await resuming(provider)(call))
    assert len(provider.calls) == 1


@virtual_time
async def test_a_whole_answer_passes_through() -> None:
    provider = ScriptedProvider([chat_answer()])
    reply = await resuming(provider)(chat_call(temperature=0))
    assert (type(reply), reply.head.media_type, await read(reply)) == (Reply, "", chat_answer())


@virtual_time
async def test_other_operations_pass_through() -> None:
    provider = ScriptedProvider([b'data: {"type":"response.output_text.delta","delta":"a"}\n\n', cut()])
    await read_cut(
        await resuming(provider, mode="verify")(repeatable().having(operation=Operation.RESPONSES))
    )
    assert len(provider.calls) == 1


@virtual_time
async def test_tool_calls_are_continued_in_their_arguments() -> None:
    begin = [chat_chunk(role="assistant"), tool_chunk("", name="look"), tool_chunk('{"a":')]
    whole = [
        *begin,
        tool_chunk(" 1}"),
        tool_chunk("{}", name="see", number=1),
        chat_chunk(finish="tool_calls"),
        DONE,
    ]
    once = [chat_chunk(role="assistant"), tool_chunk('{"a": 1}', name="look"), *whole[4:]]
    for second in (whole, once):
        provider = ScriptedProvider([*begin, cut()], second)
        raw = await read(await resuming(provider)(repeatable()))
        expected = assemble(event.data for event in read_chat_events(b"".join(whole)))
        assert assemble(event.data for event in read_chat_events(raw)) == expected


@pytest.mark.parametrize(
    "begin",
    [
        tool_chunk("{", name="look"),
        chat_chunk("thinking", field="reasoning"),
        b'data: {"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":"{"}}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"audio":{"data":"AAAA"}}}]}\n\n',
        b'data: {"choices":"of tomorrow"}\n\n',
    ],
)
def test_nothing_that_was_delivered_is_ever_delivered_twice(begin: bytes) -> None:
    """What is not followed could be repeated: then it is a cut."""

    @virtual_time
    async def run() -> None:
        provider = ScriptedProvider([begin, cut()], [begin, begin, chat_chunk(finish="stop"), DONE])
        got: list[bytes] = []
        try:
            await read(await resuming(provider)(repeatable()), got)
        except Cut:
            assert got == [begin]
        else:
            events = read_chat_events(b"".join(got))
            twice = read_chat_events(begin + begin)
            assert [p for e in events for p in e.pieces] == [p for e in twice for p in e.pieces]

    run()


@virtual_time
async def test_a_tool_call_that_begins_where_the_first_was_cut_is_not_guessed() -> None:
    first = [chat_chunk("Let me look."), cut()]
    both = (
        b'data: {"choices":[{"index":0,"delta":{"content":" look.","tool_calls":[{"index":0,"id":"x",'
        b'"function":{"name":"f","arguments":"{}"}}]}}]}\n\n'
    )
    provider = ScriptedProvider(first, [chat_chunk("Let me"), both, DONE])
    raw = await read_cut(await resuming(provider)(repeatable()))
    assert raw == first[0]


@virtual_time
async def test_a_stream_cut_after_its_last_text_gets_its_end() -> None:
    provider = ScriptedProvider([*chat_stream("ab")[:2], cut()], chat_stream("a", "b", usage=(1, 2)))
    raw = await read(await resuming(provider)(repeatable()))
    events = read_chat_events(raw)
    assert (text_of(raw), events[-2].finish_reason, events[-1].usage) == (
        "ab",
        "stop",
        Usage(input=1, output=2),
    )


@virtual_time
async def test_a_reader_that_never_reads_leaves_nothing_open() -> None:
    provider = ScriptedProvider(chat_stream("a"), chat_stream("a"))
    reply = await resuming(provider)(repeatable())
    await reply.aclose()
    assert (provider.open, provider.ends) == (0, [End.CANCELLED])
    async with await resuming(provider)(repeatable()) as reply:
        await reply.first()
    assert (provider.open, provider.ends) == (0, [End.CANCELLED] * 2)
    del reply
    gc.collect()  # nothing is found that was never closed


@virtual_time
async def test_a_reader_that_leaves_closes_the_first_and_the_second_stream() -> None:
    provider = ScriptedProvider(chat_stream("a"), [*chat_stream("a")[:2], cut()], chat_stream("a", "b", "c"))
    async with await resuming(provider)(repeatable()) as reply:
        await anext(reply)
    assert (provider.open, provider.ends) == (0, [End.CANCELLED])
    async with await resuming(provider)(repeatable()) as reply:
        for _ in range(3):
            await anext(reply)
        assert provider.open == 1
    assert (provider.open, provider.ends) == (0, [End.CANCELLED, End.FAILED, End.CANCELLED])


@virtual_time
async def test_a_reader_that_is_cancelled_while_it_is_asked_again_leaves_nothing_open() -> None:
    provider = ScriptedProvider([*chat_stream("a")[:2], cut()], [60.0, *chat_stream("a")])
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(read(await resuming(provider)(repeatable())))
        await asyncio.sleep(1.0)
        assert provider.open == 1
        reader.cancel()
    assert (provider.open, provider.ends) == (0, [End.FAILED, End.CANCELLED])


pieces = st.lists(st.text(alphabet="ab你", max_size=3), max_size=5)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(pieces, st.integers(0, 8)), min_size=1, max_size=3), pieces)
def test_whatever_comes_the_reader_has_a_beginning_of_one_answer_or_all_of_it(tries, last) -> None:
    async def run() -> None:
        scripts = [[*chat_stream(*texts)[:-1][:after], cut()] for texts, after in tries]
        provider = ScriptedProvider(*scripts, chat_stream(*last))
        got: list[bytes] = []
        try:
            await read(await resuming(provider, most=3)(repeatable()), got)
        except StanchionError:
            assert DONE not in b"".join(got)
        else:
            assert text_of(b"".join(got)) == "".join(last)
        assert provider.open == 0

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(run())


@virtual_time
async def test_usage_of_the_first_try_is_kept_where_the_second_is_refused() -> None:
    provider = ScriptedProvider([*chat_stream("a", "b")[:3], usage_chunk(7, 2), cut()], down())
    call = repeatable()
    await read_cut(await resuming(provider)(call))
    assert call.trail.usage == Usage(input=7, output=2)
