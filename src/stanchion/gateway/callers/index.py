"""Keys by their public part, as one version of the book has them.  In memory: a call asks no store."""

from __future__ import annotations

import hmac

import msgspec

from stanchion.core.caller import EVERYONE, Caller, CallerKey, Level, Standing, Team
from stanchion.rules.virtual_key import digest_of, glance_id
from stanchion.stores.protocols import Callers


class Known(msgspec.Struct, frozen=True):
    """A key that is in the book, and who it belongs to."""

    key: CallerKey
    caller: Caller
    standing: Standing


class CallerIndex:
    """One version of the book, ready to be asked."""

    def __init__(self, callers: Callers) -> None:
        self.version = callers.version
        self.entries = {(type(entry), entry.name): entry for entry in callers.entries}
        self._pepper = callers.pepper
        teams = {entry.name: entry for entry in callers.entries if isinstance(entry, Team)}
        everyone = _levels(EVERYONE, teams.get(EVERYONE))
        self.everyone = Standing(levels=everyone, salt=callers.pepper)
        owners = {entry.name: entry for entry in callers.entries if isinstance(entry, Caller)}
        self._keys = {
            entry.name: self._known(entry, owners[entry.caller], teams, everyone)
            for entry in callers.entries
            if isinstance(entry, CallerKey) and entry.caller in owners
        }

    def find(self, text: str) -> Known | None:
        """Return what is known of a key; None if it is not in the book.

        Which ids there are may be learned from how long this takes; they are public.  Of the rest nothing can:
        the digests are compared in constant time, and made for an unknown id too.
        """
        known = self._keys.get(glance_id(text))
        digest = digest_of(text, self._pepper)
        stored = known.key.digest if known is not None else bytes(len(digest))
        return known if hmac.compare_digest(digest, stored) else None

    def named(self, name: str) -> Known | None:
        """Return what is known of a key by its public part, for what it was admitted to before."""
        return self._keys.get(name)

    def _known(
        self, key: CallerKey, caller: Caller, teams: dict[str, Team], everyone: tuple[Level, ...]
    ) -> Known:
        levels = (
            *_levels(f"key {key.name}", key),
            *_levels(f"caller {caller.name}", caller),
            *(_levels(f"team {caller.team}", teams.get(caller.team)) if caller.team else ()),
            *everyone,
        )
        return Known(key, caller, Standing(levels, caller.user_limits, caller.name, self._pepper))


def _levels(name: str, entry: Team | Caller | CallerKey | None) -> tuple[Level, ...]:
    return (Level(name, entry.limits),) if entry is not None and entry.limits else ()
