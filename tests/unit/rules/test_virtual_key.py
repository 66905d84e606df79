"""The form of a caller's key."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.virtual_key import PREFIX, RANDOM_BYTES, checksum, digest_of, is_id, make_key, read_id

RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
KEY = make_key(bytes(range(RANDOM_BYTES))).text


@given(RANDOM)
def test_every_key_that_is_made_is_read(random: bytes) -> None:
    key = make_key(random)
    assert read_id(key.text) == key.id
    assert is_id(key.id)
    assert re.fullmatch(r"sk-st-[0-9A-Za-z]{8}-[0-9A-Za-z]{49}", key.text)


@given(RANDOM, RANDOM)
def test_other_random_bytes_are_another_key(one: bytes, other: bytes) -> None:
    assert (make_key(one).text == make_key(other).text) is (
        one[6:] == other[6:] and make_key(one).id == make_key(other).id
    )


@given(RANDOM, st.integers(0, 63), st.characters(min_codepoint=33, max_codepoint=126))
def test_one_wrong_character_is_seen(random: bytes, place: int, other: str) -> None:
    text = make_key(random).text
    if text[place] != other:
        assert read_id(text[:place] + other + text[place + 1 :]) is None


@given(RANDOM, st.integers(0, 63))
def test_a_key_that_was_cut_is_seen(random: bytes, length: int) -> None:
    assert read_id(make_key(random).text[:length]) is None


@given(RANDOM, st.integers(0, 62))
def test_two_neighbours_changed_over_are_seen(random: bytes, place: int) -> None:
    text = make_key(random).text
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    assert swapped == text or read_id(swapped) is None


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    assert read_id(text) is None
    assert read_id(PREFIX + text) is None


@pytest.mark.parametrize(
    "text", [KEY + "\n", " " + KEY, KEY.upper(), KEY.replace("sk-st-", "sk-"), KEY + "0", ""]
)
def test_what_is_nearly_a_key_is_none(text: str) -> None:
    assert read_id(text) is None


def test_the_checksum_is_what_it_always_was() -> None:
    # stored nowhere, but scanners know it: it may never change
    assert checksum("sk-st-") == KEY_CHECKSUM
    assert f"{KEY[:-6]}{checksum(KEY[:-6])}" == KEY


KEY_CHECKSUM = "3yL1sj"


@given(RANDOM, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_what_is_stored_tells_neither_the_key_nor_the_same_with_another_pepper(
    random: bytes, one: bytes, other: bytes
) -> None:
    text = make_key(random).text
    stored = digest_of(text, one)
    assert len(stored) == 32
    assert text.encode()[15:] not in stored
    assert (stored == digest_of(text, other)) is (one == other)


def test_a_key_that_was_made_does_not_print() -> None:
    key = make_key(bytes(RANDOM_BYTES))
    assert key.text not in repr(key)
    with pytest.raises(ValueError, match="random bytes"):
        make_key(b"few")
