"""The words in which two questions must agree; and how alike two texts are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.exact_words import exact_words
from stanchion.rules.wording import alike


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Can you find me a therapist?", []),
        ("I'd like 2 rooms for the 5th of March, 16:30.", ["2", "5", "March", "16:30"]),
        ("an apartment with three baths", ["three"]),
        ("Do not turn it off. Don’t!", ["not", "off", "don't"]),
        ("Fly from Rome to Oslo", ["Rome", "Oslo"]),
        ("Fly from Oslo to Rome", ["Oslo", "Rome"]),
        ("Hello. Paris is nice, I think", []),  # at the beginning of a sentence a name is not known
        ("NYC hotels", ["NYC"]),
        ("找一个评分4.5分以上的酒店，不要太贵", ["一", "4.5", "不"]),
        ("", []),
    ],
)
def test_figures_names_and_negations_are_taken_in_their_order(text: str, words: list[str]) -> None:
    assert exact_words(text) == words


@given(st.text())
def test_any_text_has_its_words_and_they_stand_in_it(text: str) -> None:
    low = text.casefold().replace("’", "'")
    assert all(word.casefold().replace("’", "'") in low for word in exact_words(text))


@pytest.mark.parametrize(
    ("one", "other", "most"), [("It is warm.", "it  is\nwarm.", 1.0), ("warm", "cold", 0.0), ("", "a", 0.0)]
)
def test_texts_are_compared_by_their_wording(one: str, other: str, most: float) -> None:
    assert alike(one, other) == most


@given(st.text(), st.text())
def test_likeness_is_a_share_and_the_same_both_ways(one: str, other: str) -> None:
    assert 0 <= alike(one, other) == alike(other, one) <= 1
    assert alike(one, one) == 1
