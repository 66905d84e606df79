"""Text -> the numbers of BERT's word pieces, as the uncased vocabulary has them.

After Devlin et al. (2018) and Wu et al. (2016): clean, lower case, strip accents, part at spaces, punctuation and
Chinese characters, then the longest pieces first.  The tests compare it with the tokenizer that the model was made
with.  It knows nothing of weights.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

_WORD_MOST = 100  # characters; a longer word is unknown as a whole
_CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPieces:
    """A vocabulary."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words`: one a line of `vocab.txt`; a word's place is its number."""
        self._numbers = {word: number for number, word in enumerate(words)}
        self.begin, self.end = self._numbers["[CLS]"], self._numbers["[SEP]"]
        self._unknown = self._numbers["[UNK]"]

    def read(self, text: str) -> list[int]:
        """Return the numbers of the text's pieces, with the marks of begin and end around them."""
        found = [self.begin]
        for word in _words(text):
            found += self._pieces(word)
        return [*found, self.end]

    def unknown(self, numbers: Sequence[int]) -> int:
        """Count the pieces that the vocabulary does not have."""
        return numbers.count(self._unknown)

    def _pieces(self, word: str) -> list[int]:
        if len(word) > _WORD_MOST:
            return [self._unknown]
        numbers, begin, found = self._numbers, 0, list[int]()
        while begin < len(word):
            mark = "##" if begin else ""
            for end in range(len(word), begin, -1):
                number = numbers.get(mark + word[begin:end])
                if number is not None:
                    found.append(number)
                    begin = end
                    break
            else:
                return [self._unknown]
        return found


def _words(text: str) -> Iterator[str]:
    """Yield words, marks of punctuation and Chinese characters, without accents and in lower case."""
    for part in "".join(map(_spaced, text)).split():
        plain = "".join(
            each for each in unicodedata.normalize("NFD", part.lower()) if unicodedata.category(each) != "Mn"
        )
        yield from _parted(plain)


def _parted(word: str) -> Iterator[str]:
    begin = 0
    for place, letter in enumerate(word):
        if _is_mark(letter):
            if begin < place:
                yield word[begin:place]
            yield letter
            begin = place + 1
    if begin < len(word):
        yield word[begin:]


@lru_cache(4096)
def _spaced(letter: str) -> str:
    """Return a character as it goes on: alone, as a space, or not at all."""
    code = ord(letter)
    if letter in "\t\n\r" or unicodedata.category(letter) == "Zs":
        return " "
    if code in (0, 0xFFFD) or unicodedata.category(letter) in ("Cc", "Cf", "Co"):
        return ""
    if any(first <= code <= last for first, last in _CHINESE):
        return f" {letter} "
    return letter


@lru_cache(4096)
def _is_mark(letter: str) -> bool:
    code = ord(letter)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(letter).startswith("P")
