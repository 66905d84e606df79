"""One sentence -> 384 numbers of length 1, whose product with another's says how near the two are in meaning.

all-MiniLM-L6-v2 (Wang et al. 2020; sentence-transformers): BERT with six layers of twelve heads, the mean over all
pieces, and that to length 1.  What it does to a sentence here is compared with PyTorch's numbers by a test.
It was trained on English.  Its vocabulary lacks most of other scripts, and what it lacks it takes for the same: in Chinese
a hotel and a sight are 0.9995 alike.  So it refuses a text in another script, or with a piece that it does not know.
It blocks its thread for some milliseconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import ThreadpoolController

from stanchion.providers.minilm.weights import model_folder, read_weights
from stanchion.providers.minilm.wordpiece import WordPieces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stanchion.providers.minilm.weights import Array

DIMENSIONS = 384
PIECES_MOST = 256  # it was trained with no more
_LAYERS, _HEADS = 6, 12
_LATIN_LAST = "\u024f"  # the end of Latin Extended-B
_WIDE = DIMENSIONS // _HEADS
_EPSILON = np.float32(1e-12)
# of erf(x), Abramowitz and Stegun 7.1.26: wrong by 1.5e-7 at most, as float32 is
_ERF = tuple(map(np.float32, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)))
_ERF_P, _ROOT = np.float32(0.3275911), np.float32(math.sqrt(0.5))
_HALF, _ONE = np.float32(0.5), np.float32(1)


class Encoder:
    """The model."""

    def __init__(self) -> None:
        """Read vocabulary and weights; takes a quarter of a second.  Raises SettingsError."""
        # matrices this small gain nothing from more threads, which wait for each other: 13 ms became 150 where the
        # machine had other work
        self._threads = ThreadpoolController()
        folder = model_folder()
        self._pieces = WordPieces((folder / "vocab.txt").read_text("utf-8").splitlines())
        self._weights = weights = read_weights(folder / "model.safetensors")
        self._words = weights["embeddings.word_embeddings.weight"]
        kind = weights["embeddings.token_type_embeddings.weight"][0]
        self._places = weights["embeddings.position_embeddings.weight"][:PIECES_MOST] + kind
        self._layers = [_Layer(weights, f"encoder.layer.{number}") for number in range(_LAYERS)]

    def encode(self, text: str) -> Array | None:
        """Return the sentence's vector; None if it is not in Latin letters, not known, too long, or empty."""
        if any(letter > _LATIN_LAST and letter.isalpha() for letter in text):
            return None
        numbers = self._pieces.read(text)
        if not 2 < len(numbers) <= PIECES_MOST or self._pieces.unknown(numbers):
            return None
        with self._threads.limit(limits=1, user_api="blas"):
            return self._encode(numbers)

    def _encode(self, numbers: list[int]) -> Array:
        state = self._words[numbers] + self._places[: len(numbers)]
        state = _normal(state, self._weights, "embeddings.LayerNorm")
        for layer in self._layers:
            state = layer(state)
        mean = state.mean(axis=0)
        return mean / np.sqrt(mean @ mean)


class _Layer:
    """Attention, then two dense layers, each added to what came in."""

    def __init__(self, weights: Mapping[str, Array], name: str) -> None:
        self._weights = weights
        self._name = name
        of = f"{name}.attention.self"
        parts = ("query", "key", "value")
        self._asked = np.concatenate([weights[f"{of}.{part}.weight"] for part in parts]).T.copy()
        self._asked_bias = np.concatenate([weights[f"{of}.{part}.bias"] for part in parts])

    def __call__(self, state: Array) -> Array:
        weights, name = self._weights, self._name
        seen = _dense(self._attended(state), weights, f"{name}.attention.output.dense")
        state = _normal(state + seen, weights, f"{name}.attention.output.LayerNorm")
        made = _gelu(_dense(state, weights, f"{name}.intermediate.dense"))
        made = _dense(made, weights, f"{name}.output.dense")
        return _normal(state + made, weights, f"{name}.output.LayerNorm")

    def _attended(self, state: Array) -> Array:
        count = len(state)
        asked = (state @ self._asked + self._asked_bias).reshape(count, 3, _HEADS, _WIDE)
        query, key, value = asked.transpose(1, 2, 0, 3)  # each: head, place, number
        scores = query @ key.transpose(0, 2, 1) / np.float32(math.sqrt(_WIDE))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return (scores @ value).transpose(1, 0, 2).reshape(count, DIMENSIONS)


def _dense(state: Array, weights: Mapping[str, Array], name: str) -> Array:
    return state @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _normal(state: Array, weights: Mapping[str, Array], name: str) -> Array:
    state = state - state.mean(axis=-1, keepdims=True)
    state /= np.sqrt((state * state).mean(axis=-1, keepdims=True) + _EPSILON)
    return state * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _gelu(state: Array) -> Array:
    size = np.abs(state) * _ROOT
    near = _ONE / (_ONE + _ERF_P * size)
    sum_ = _ERF[0]
    for factor in _ERF[1:]:
        sum_ = sum_ * near + factor
    erf = np.copysign(_ONE - sum_ * near * np.exp(-size * size), state)
    return _HALF * state * (_ONE + erf)
