"""How those wait who cannot be served at once."""

from __future__ import annotations

import msgspec


class LineOptions(msgspec.Struct, frozen=True):
    """The line: how long, how many, and in which shares."""

    interactive_wait_most_s: float = (
        30.0  # seconds an interactive call waits; one that would wait longer is refused
    )
    batch_wait_most_s: float = 0.0  # seconds a batch call waits; 0 is until its deadline
    ageing_s: float = 30.0  # seconds after which a batch call that waits gets the share of its kind
    batch_share: float = 0.1  # of the work, for aged batch calls while interactive ones wait
    waiting_most: int = 10_000  # calls that wait, in all
    caller_waiting_most: int = 1_000  # calls of one caller that wait
    bytes_most: int = 256 * 1024 * 1024  # bytes of the bodies of calls that wait
    open_most: int = 0  # calls that wait or are answered, in all; 0 is any number
    caller_open_most: int = 0  # calls of one caller that are answered at once; 0 is any number
    weights: dict[str, float] = {}  # a caller's share beside others; 1 where nothing is said
