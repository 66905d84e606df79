"""The local model: its pieces and vectors are those of the libraries it was made with, and it knows what it does not know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stanchion.core.errors import SettingsError
from stanchion.providers.minilm.encoder import DIMENSIONS, Encoder
from stanchion.providers.minilm.weights import model_folder, read_weights
from stanchion.providers.minilm.wordpiece import WordPieces
from stanchion.rules.exact_words import exact_words

DATA = Path(__file__).parents[1] / "data"
RECORDED = json.loads((DATA / "minilm.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder()


@pytest.fixture(scope="module")
def pairs(encoder: Encoder) -> list[tuple[float, bool, bool]]:
    """Return by pair of real requests: similarity, whether their exact words agree, whether one answer does for both."""
    lines = (DATA / "similar_requests.jsonl").read_text("utf-8").splitlines()
    told: list[dict[str, Any]] = [json.loads(line) for line in lines]
    vectors = {text: encoder.encode(text) for pair in told for text in (pair["asked"], pair["kept"])}
    found = list[tuple[float, bool, bool]]()
    for pair in told:
        one, other = vectors[pair["asked"]], vectors[pair["kept"]]
        assert one is not None
        assert other is not None
        agree = exact_words(pair["asked"]) == exact_words(pair["kept"])
        found.append((float(one @ other), agree, pair["same"]))
    return found


@pytest.mark.parametrize(("text", "numbers"), RECORDED["pieces"])
def test_pieces_are_those_of_its_own_tokenizer(text: str, numbers: list[int]) -> None:
    words = (model_folder() / "vocab.txt").read_text("utf-8").splitlines()
    assert WordPieces(words).read(text) == numbers


@pytest.mark.parametrize(("text", "vector"), RECORDED["vectors"])
def test_vectors_are_those_of_pytorch(encoder: Encoder, text: str, vector: list[float]) -> None:
    ours = encoder.encode(text)
    assert ours is not None
    assert ours.shape == (DIMENSIONS,)
    assert np.abs(ours - np.array(vector, np.float32)).max() < 2e-6


@pytest.mark.parametrize("text", ["", " ", "酒店", "hotel 酒店", "гостиница", "ok 🙂", "word " * 300])
def test_what_it_does_not_know_it_refuses(encoder: Encoder, text: str) -> None:
    assert encoder.encode(text) is None


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(SettingsError, match="SHA-256"):
        read_weights(file)


@pytest.mark.timeout(120)  # some hundred sentences
def test_the_documented_judgement_holds(pairs: list[tuple[float, bool, bool]]) -> None:
    """The table of docs/howto/cache.md: how many real requests were answered, and how many of them wrongly."""

    def judged(threshold: float) -> tuple[int, int]:
        given = [same for similarity, agree, same in pairs if agree and similarity >= threshold]
        return len(given), given.count(False)

    assert len(pairs) == 289
    assert [judged(each) for each in (0.98, 0.97, 0.95, 0.93, 0.9, 0.85, 0.8)] == [
        (20, 0),
        (34, 0),
        (66, 1),
        (95, 2),
        (135, 4),
        (193, 9),
        (219, 15),
    ]
    unguarded = [same for similarity, _, same in pairs if similarity >= 0.8]
    assert (len(unguarded), unguarded.count(False)) == (289, 51)


@pytest.mark.parametrize(
    ("one", "other", "at_least"),
    [
        ("Send money to bob from alice", "Send money to alice from bob", 0.99),
        ("convert celsius to fahrenheit", "convert fahrenheit to celsius", 0.99),
        ("Does the dog bite the man?", "Does the man bite the dog?", 0.98),
    ],
)
def test_it_does_not_see_who_does_what_to_whom(
    encoder: Encoder, one: str, other: str, at_least: float
) -> None:
    """What the how-to warns of: no threshold keeps these apart."""
    ours, theirs = encoder.encode(one), encoder.encode(other)
    assert ours is not None
    assert theirs is not None
    assert at_least < float(ours @ theirs) < 1
    assert exact_words(one) == exact_words(other)
