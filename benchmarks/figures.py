"""What a row found, and whether that reaches what was asked for."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

T = TypeVar("T")


class Run(msgspec.Struct, frozen=True):
    """How thoroughly to measure."""

    runs: int = 5  # pairs
    quick: bool = False  # a look: shorter runs, fewer of them
    peers: tuple[str, ...] = ("openai",)
    missing: Mapping[str, str] = {}  # peers that were asked for and could not be installed, and why
    say: Callable[[str], None] = print

    def seconds(self, full: float) -> float:
        """Return how long a measurement of `full` seconds takes in this run."""
        return max(1.0, full / 3) if self.quick else full

    def times(self, full: int) -> int:
        """Return how often what is done `full` times is done in this run."""
        return max(1, full // 3) if self.quick else full


class Row(msgspec.Struct, kw_only=True):
    """One line of the table."""

    name: str
    unit: str
    ours: float
    reference: float | None = None
    beside: str = ""  # what the reference is
    compared: float  # what is judged: a ratio, a difference, or our figure itself
    as_: Literal["x", "unit"] = "x"  # how `compared` is written: a ratio, or in the row's unit
    most: float | None = None  # `compared` may be this at most
    least: float | None = None  # or must be this at least
    note: str = ""
    ratios: list[float] = []  # of each pair

    @property
    def passed(self) -> bool | None:
        """Whether the reach is kept; None where none is asked."""
        if self.most is not None:
            return self.compared <= self.most
        if self.least is not None:
            return self.compared >= self.least
        return None


def interleaved(runs: int, *systems: Callable[[], T]) -> list[list[T]]:
    """Measure systems in turns, A B, B A, A B, so that what drifts meets all; return the figures of each."""
    found: list[list[T]] = [[] for _ in systems]
    order = list(range(len(systems)))
    for _ in range(runs):
        for number in order:
            found[number].append(systems[number]())
        order.reverse()
    return found


def ratio_row(name: str, unit: str, reference: Sequence[float], ours: Sequence[float], **more: object) -> Row:
    """Return the row of paired figures: judged is the median of the ratios of the pairs."""
    ratios = [mine / other for mine, other in zip(ours, reference, strict=True)]
    return Row(  # pyright: ignore[reportArgumentType]
        name=name,
        unit=unit,
        reference=statistics.median(reference),
        ours=statistics.median(ours),
        compared=statistics.median(ratios),
        ratios=ratios,
        **more,  # pyright: ignore[reportArgumentType]
    )
