"""How long the answers of a call may become, as far as the caller says."""

from __future__ import annotations

import msgspec


class AnswerSize(msgspec.Struct, frozen=True, gc=False):
    """What a body says of the tokens that its answers may take.  `rules/size.py` makes one."""

    answer: int | None  # the most tokens of one answer, as the caller says; None if it does not say
    answers: int  # how many answers are written; 0 where an answer costs nothing
    limits: tuple[str, ...]  # the fields that bound an answer

    @property
    def answer_most(self) -> int:
        """The most tokens that all answers may have together, where the caller bounds them; else 0."""
        return self.answer * self.answers if self.answer is not None else 0
