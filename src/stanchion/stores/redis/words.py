"""How what is asked is written for the scripts: the keys, then the arguments.

All keys have one hash tag, so that a cluster keeps them on one server: a step is never torn apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from stanchion.stores.admission import Money, Part
from stanchion.stores.budgets import LATE_S, Settlement
from stanchion.stores.memory import FORGET_S
from stanchion.stores.protocols import EPOCH_S, Change
from stanchion.stores.redis.wire import Argument

Words = tuple[list[str], list[Argument]]
MONEY: tuple[Argument, ...] = (int(EPOCH_S), int(LATE_S))  # what each step about money begins with
_LIMITS: tuple[Argument, ...] = (int(EPOCH_S), int(FORGET_S))


def admit_words(parts: Sequence[Part], money: Money | None, holder: str) -> Words:
    """Write what admit.lua reads."""
    keys: list[str] = []
    words: list[Argument] = [*MONEY, int(FORGET_S), holder, len(parts)]
    for part in parts:
        words += (len(part.takes), len(part.slots))
    for part in parts:
        for take in part.takes:
            keys.append(_meter(take.meter))
            words += (repr(take.cost_s), repr(take.room_s))
        for slot in part.slots:
            keys.append(_slot(slot.name))
            words += (slot.most, repr(slot.ttl_s))
    words.append(repr(money.ttl_s) if money is not None else 0)
    for hold in money.holds if money is not None else ():
        keys += purse_keys(hold.purse)
        words += (hold.cap, hold.amount, hold.least, hold.sure, repr(hold.keep_s))
    return keys, words


def change_words(changes: Sequence[Change], free: Sequence[str], holder: str) -> Words:
    """Write what change.lua reads."""
    keys = [_meter(change.meter) for change in changes] + [_slot(name) for name in free]
    words: list[Argument] = [holder, len(changes), *_LIMITS]
    for change in changes:
        words += (repr(change.cost_s), repr(change.hold_s))
        seen = change.seen
        told = (seen.at, seen.booked_s, seen.depth_s, seen.gain) if seen is not None else ()
        words += [repr(each) for each in told] or [""] * 4
    return keys, words


def settle_words(settlements: Sequence[Settlement]) -> Words:
    """Write what budget.lua reads for its step `settle`."""
    places = placed([charge.purse for each in settlements for charge in each.charges])
    words: list[Argument] = [*MONEY, "settle", len(settlements)]
    for each in settlements:
        words += (each.holder, len(each.charges))
        for charge in each.charges:
            words += (places[charge.purse], charge.amount)
    return all_keys(places), words


def placed(purses: Sequence[str]) -> dict[str, int]:
    """Number the purses, from 1, each once."""
    return {purse: place for place, purse in enumerate(dict.fromkeys(purses), start=1)}


def all_keys(purses: dict[str, int]) -> list[str]:
    """Name the keys of all purses, in order."""
    return [key for purse in purses for key in purse_keys(purse)]


def purse_keys(purse: str) -> tuple[str, str]:
    """Name the keys of a purse."""
    return f"{{stanchion}}:purse:{purse}", f"{{stanchion}}:leases:{purse}"


def _meter(name: str) -> str:
    return f"{{stanchion}}:meter:{name}"


def _slot(name: str) -> str:
    return f"{{stanchion}}:slot:{name}"
