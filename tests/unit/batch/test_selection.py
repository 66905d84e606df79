"""Some rows of a source: what is chosen keeps its number, and shares make the whole."""

from __future__ import annotations

import pytest

from stanchion.batch.forms.template import TemplateForm
from stanchion.batch.rows import BadRow, Source
from stanchion.batch.selection import SelectedSource, Selection
from stanchion.rules.template import Template
from tests.unit.batch.given import Given

FORM = TemplateForm(Template("{{ n }}"), model="m")
LINES = [
    b'{"n":%d,"id":%d}' % (number // 2, number) for number in range(1000)
]  # each row has a twin beside it


def numbers(source: Source) -> list[int]:
    """Return the numbers of all rows that are there."""
    return [
        number
        for page in source.pages()
        for number, line in enumerate(page.lines, page.first)
        if line or number in page.bad
    ]


def chosen(lines: list[bytes] = LINES, **of: int) -> list[int]:
    return numbers(SelectedSource(Given(lines), Selection(**of), FORM))


def test_the_first_rows_are_the_first_rows() -> None:
    assert chosen(limit=10) == list(range(1, 11))
    assert chosen([b"{}", b"", b"{}", b"{}"], limit=2) == [1, 3], "an empty line is no row"
    assert chosen(limit=5000) == list(range(1, 1001))


@pytest.mark.parametrize("most", [1, 10, 100, 900])
def test_a_sample_is_spread_over_all_rows_and_is_the_same_each_time(most: int) -> None:
    sample = chosen(sample=most)
    assert sample == chosen(sample=most)
    assert 0.9 * most <= len(sample) <= most
    if most >= 100:
        for tenth in range(10):
            assert len([n for n in sample if n // 100 == tenth]) == pytest.approx(
                most / 10, abs=most / 20 + 2
            )


def test_shares_make_the_whole_and_no_row_is_in_two() -> None:
    shares = [chosen(shard=shard, shards=3) for shard in (1, 2, 3)]
    assert sorted(number for share in shares for number in share) == list(range(1, 1001))
    assert all(250 < len(share) < 420 for share in shares)


def test_twins_and_moved_rows_stay_in_their_share() -> None:
    shares = [{LINES[number - 1] for number in chosen(shard=shard, shards=3)} for shard in (1, 2, 3)]
    for share in shares:
        contents = {FORM.content(line) for line in share}
        assert len(share) == 2 * len(contents)
    moved = [*LINES[500:], b'{"n":"new"}', *LINES[:500]]
    for shard, share in enumerate(shares, 1):
        kept = {moved[number - 1] for number in chosen(moved, shard=shard, shards=3)}
        assert kept - {b'{"n":"new"}'} == share


def test_a_bad_row_is_in_one_share() -> None:
    bad = {2: BadRow("bad", number=2)}
    found = [
        numbers(SelectedSource(Given([b"{}", b"", b"broken"], bad), Selection(shard=shard, shards=2), FORM))
        for shard in (1, 2)
    ]
    assert sorted(number for share in found for number in share) == [1, 2, 3]


def test_the_size_is_that_of_what_is_chosen() -> None:
    for of, size in (({"limit": 10}, 10), ({"sample": 20}, 20), ({"shard": 1, "shards": 4}, 250), ({}, 1000)):
        assert SelectedSource(Given(LINES), Selection(**of), FORM).size() == size
    assert Selection().is_all
