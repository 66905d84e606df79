"""Does a second answer begin with exactly what was delivered of the first?

An answer is several texts side by side (content of choice 0, arguments of tool call 1, ...).  The second
answer is followed piece by piece: what repeats the delivered text is swallowed, what goes beyond it is
new, and the first difference ends it.  It goes on only once *all* that was delivered was repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Piece = tuple[str, str]  # (where, text)


class Differs(ValueError):
    """The second answer is another answer."""


class PrefixMatch:
    """Follows the second answer."""

    __slots__ = ("_left", "_missing")

    def __init__(self, delivered: Mapping[str, str]) -> None:
        """`delivered`: where -> all the text that was delivered there."""
        self._left = {where: text for where, text in delivered.items() if text}
        self._missing = sum(map(len, self._left.values()))

    @property
    def caught_up(self) -> bool:
        """Say whether all that was delivered was repeated."""
        return self._missing == 0

    def feed(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Take in what the second answer generated; return what is new in it.  Raises Differs."""
        new: list[Piece] = []
        for where, text in pieces:
            left = self._left.get(where, "")
            repeated = min(len(left), len(text))
            if left[:repeated] != text[:repeated]:
                raise Differs(where)
            if left:
                self._left[where] = left[repeated:]
                self._missing -= repeated
            if len(text) > repeated:
                new.append((where, text[repeated:]))
        return new
