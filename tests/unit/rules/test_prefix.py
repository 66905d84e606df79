"""A second answer is followed piece by piece: the rest is exact, and any difference is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.prefix import Differs, PrefixMatch

texts = st.text(alphabet="ab你🎈", max_size=12)


@st.composite
def cut(draw: st.DrawFn, text: st.SearchStrategy[str] = texts) -> tuple[str, list[str]]:
    """A text and the same text in pieces."""
    whole = draw(text)
    at = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return whole, [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]


@given(cut(), st.integers(0, 12))
def test_for_any_split_exactly_the_rest_is_new(second: tuple[str, list[str]], delivered: int) -> None:
    whole, pieces = second
    had = whole[:delivered]
    match = PrefixMatch({"0.content": had})
    new = [text for piece in pieces for _, text in match.feed([("0.content", piece)])]
    assert "".join(new) == whole[len(had) :]
    assert match.caught_up
    assert "" not in new


@given(cut(), texts)
def test_any_difference_is_seen(second: tuple[str, list[str]], delivered: str) -> None:
    whole, pieces = second
    match = PrefixMatch({"c": delivered})
    differs = any(a != b for a, b in zip(whole, delivered, strict=False))
    if differs:
        with pytest.raises(Differs):
            match.feed([("c", piece) for piece in pieces])
    else:
        match.feed([("c", piece) for piece in pieces])
        assert match.caught_up == (len(whole) >= len(delivered))


@given(cut(), cut(), st.integers(0, 12), st.integers(0, 12), st.randoms(use_true_random=False))
def test_texts_side_by_side_are_followed_each_by_itself(one, two, had_one, had_two, random) -> None:
    pieces = [("a", each) for each in one[1]] + [("b", each) for each in two[1]]
    random.shuffle(pieces)
    whole = {at: "".join(text for where, text in pieces if where == at) for at in "ab"}
    had = {"a": whole["a"][:had_one], "b": whole["b"][:had_two]}
    match, new = PrefixMatch(had), {"a": "", "b": ""}
    for piece in pieces:
        for where, text in match.feed([piece]):
            new[where] += text
    assert {where: had[where] + new[where] for where in "ab"} == whole
    assert match.caught_up


def test_what_was_never_delivered_is_all_new() -> None:
    match = PrefixMatch({"a": ""})
    assert match.caught_up
    assert match.feed([("a", "x"), ("b", "y")]) == [("a", "x"), ("b", "y")]


def test_a_text_in_another_place_does_not_count() -> None:
    match = PrefixMatch({"0.content": "abc"})
    assert match.feed([("0.reasoning_content", "abc")]) == [("0.reasoning_content", "abc")]
    assert not match.caught_up
