"""Which words of a question must be the same, because an embedding hardly sees them.

Figures, names, negations and words that turn a sentence round, in their order.  Measured on real requests
(docs/decisions/0033): this refuses two of three wrong answers that are nearer than 0.8.  Weakness: a word that is on no
list ("French" at the beginning of a sentence, "checking" and "savings") is not seen.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)?|[.!?:\n。！？：]")
_ENDS = frozenset(".!?:\n。！？：")
_HAN = re.compile("[〇零一二两三四五六七八九十百千万亿半不没无未别非勿否]")
_FIGURES = frozenset(
    [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
        "thirty",
        "forty",
        "fifty",
        "sixty",
        "seventy",
        "eighty",
        "ninety",
        "hundred",
        "thousand",
        "million",
        "first",
        "second",
        "third",
        "once",
        "twice",
        "single",
        "double",
        "triple",
        "both",
        "half",
        "dozen",
    ]
)
_TURNS = frozenset(
    [
        "no",
        "not",
        "never",
        "none",
        "nothing",
        "nobody",
        "without",
        "cannot",
        "nor",
        "neither",
        "except",
        "only",
        "off",
        "before",
        "after",
        "above",
        "below",
        "under",
        "over",
        "up",
        "down",
        "more",
        "less",
        "most",
        "least",
        "highest",
        "lowest",
        "ascending",
        "descending",
        "increase",
        "decrease",
        "illegal",
        "unable",
    ]
)


def exact_words(text: str) -> list[str]:
    """Return the words in which two questions must agree, in their order."""
    found, opens = list[str](), True
    for match in _WORD.finditer(text):
        word = match.group()
        if word in _ENDS:
            opens = True
            continue
        low = word.lower().replace("’", "'")
        if word[0].isdigit() or low in _FIGURES or low in _TURNS or low.endswith("n't"):
            found.append(low)
        elif _is_name(word, opens=opens):
            found.append(word)
        else:
            found += _HAN.findall(word)
        opens = False
    return found


def _is_name(word: str, *, opens: bool) -> bool:
    """Say whether a word is written like a name; at the beginning of a sentence that is not known."""
    if len(word) > 1 and word.isupper():
        return True
    return word[0].isupper() and not opens and word != "I" and not word.startswith(("I'", "I’"))
