"""What can be done with callers: add, limit, revoke, rotate.  For the command line and the admin API alike.

Each is read, decided and written in one step of the book; if another was faster, it is read and decided again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import msgspec

from stanchion.core.call import Operation
from stanchion.core.caller import EVERYONE, Caller, CallerKey, Entry, Limit, Scopes, Team
from stanchion.core.errors import InvalidCall, Unavailable
from stanchion.rules.caller_scope import LIST, read_network
from stanchion.rules.virtual_key import PREFIX, RANDOM_BYTES, VirtualKey, digest_of, is_id, make_key, read_id
from stanchion.stores.protocols import CallerBook, Callers

T = TypeVar("T", Team, Caller, CallerKey)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_TRIES = 20
_OPERATIONS = frozenset(operation.path for operation in Operation) - {LIST}


class Made(msgspec.Struct, frozen=True):
    """A key that was handed out; the one time that it is seen."""

    key: VirtualKey
    entry: CallerKey


class CallerDesk:
    """`by` is who does it, for the audit log."""

    def __init__(self, book: CallerBook, by: str, *, wall: Callable[[], float] = time.time) -> None:
        self._book = book
        self._by = by
        self._wall = wall

    async def all(self) -> Callers:
        """Return the whole book."""
        found = await self._book.read()
        assert found is not None  # noqa: S101 - no version was known
        return found

    async def add(
        self,
        name: str,
        *,
        team: str | None = None,
        limits: tuple[Limit, ...] | None = None,
        scopes: Scopes | None = None,
        expires_at: float = 0.0,
    ) -> Made:
        """Make a key for a caller, and the caller and its team where they are new.  Raises InvalidCall.

        What is not said of a caller that is there stays as it is.
        """
        scopes = checked(scopes or Scopes())
        for each in (name, team or name):
            if not _NAME.fullmatch(each) or each == EVERYONE or each.startswith("sk-"):
                raise InvalidCall(
                    "a name has up to 64 of A-Z a-z 0-9 . _ @ + -, begins with a letter or digit, not with 'sk-', "
                    f"and is not {EVERYONE!r}"
                )

        def decide(held: _Held) -> tuple[list[Entry], Made]:
            caller = held.of(Caller, name) or Caller(name)
            caller = msgspec.structs.replace(
                caller,
                team=caller.team if team is None else team,
                limits=caller.limits if limits is None else limits,
            )
            made = self._made(held, CallerKey("", name, b"", scopes, expires_at=expires_at))
            new_team = [Team(caller.team)] if caller.team and held.of(Team, caller.team) is None else []
            return [*new_team, caller, made.entry], made

        return await self._do(decide)

    async def limit(self, target: str, limits: tuple[Limit, ...]) -> str:
        """Put limits in the place of those that were.  Raises InvalidCall.  Returns whose they are, in words."""

        def decide(held: _Held) -> tuple[list[Entry], str]:
            kind, _, name = target.rpartition(":")
            if target == EVERYONE:
                entry = held.of(Team, EVERYONE) or Team(EVERYONE)
            elif kind == "team":
                entry = held.of(Team, name)
            elif kind == "key":
                entry = held.key(name)
            else:
                entry = held.of(Caller, name) if kind in ("", "users") else None
            if entry is None:
                raise _nobody(target)
            if kind == "users" and isinstance(entry, Caller):
                return [msgspec.structs.replace(entry, user_limits=limits)], f"each end user of {name}"
            return [msgspec.structs.replace(entry, limits=limits)], target

        return await self._do(decide)

    async def revoke(self, target: str) -> list[str]:
        """Revoke a key, or all keys of a caller.  Raises InvalidCall.  Returns the keys that were not yet."""

        def decide(held: _Held) -> tuple[list[Entry], list[str]]:
            now = self._wall()
            gone = [key for key in held.keys(target) if not key.revoked_at]
            return [msgspec.structs.replace(key, revoked_at=now) for key in gone], [key.name for key in gone]

        return await self._do(decide)

    async def rotate(self, target: str, *, grace_s: float) -> Made:
        """Make a key like the one that is there, which works for `grace_s` more.  Raises InvalidCall.

        A caller's name does where it has one key that works.
        """

        def decide(held: _Held) -> tuple[list[Entry], Made]:
            now = self._wall()
            usable = [
                key for key in held.keys(target) if not key.revoked_at and not 0 < key.expires_at <= now
            ]
            if len(usable) != 1:
                names = ", ".join(PREFIX + key.name for key in usable)
                raise InvalidCall(
                    f"{target!r} has several keys, name one of {names}"
                    if usable
                    else f"{target!r} has no key that works: add one"
                )
            old = usable[0]
            made = self._made(held, old)
            until = min(now + grace_s, old.expires_at or float("inf"))
            if grace_s > 0:
                old = msgspec.structs.replace(old, expires_at=until)
            else:
                old = msgspec.structs.replace(old, revoked_at=now)
            return [old, made.entry], made

        return await self._do(decide)

    def _made(self, held: _Held, like: CallerKey) -> Made:
        key = make_key(os.urandom(RANDOM_BYTES))
        while held.of(CallerKey, key.id) is not None:
            key = make_key(os.urandom(RANDOM_BYTES))
        digest = digest_of(key.text, held.callers.pepper)
        return Made(
            key,
            msgspec.structs.replace(like, name=key.id, digest=digest, made_at=self._wall(), revoked_at=0.0),
        )

    async def _do(self, decide: Callable[[_Held], tuple[list[Entry], _R]]) -> _R:
        for _ in range(_TRIES):
            callers = await self.all()
            entries, done = decide(_Held(callers))
            now = self._wall()
            signed = [msgspec.structs.replace(entry, by=self._by, at=now) for entry in entries]
            if not entries or await self._book.write(signed, at=callers.version):
                return done
        raise Unavailable("the callers are being changed by many at once: try again", code="callers_busy")


_R = TypeVar("_R")


class _Held:
    """The book, looked at by name."""

    def __init__(self, callers: Callers) -> None:
        self.callers = callers
        self._by_name = {(type(entry), entry.name): entry for entry in callers.entries}

    def of(self, kind: type[T], name: str) -> T | None:
        return cast("T | None", self._by_name.get((kind, name)))

    def key(self, text: str) -> CallerKey | None:
        """Find a key by its id, `sk-st-<id>`, or the whole key."""
        name = read_id(text) or text.removeprefix(PREFIX)
        return self.of(CallerKey, name) if is_id(name) else None

    def keys(self, target: str) -> Sequence[CallerKey]:
        """Return the key that is meant, or all of the caller that is.  Raises InvalidCall if there is neither."""
        if self.of(Caller, target) is not None:
            every = (entry for entry in self.callers.entries if isinstance(entry, CallerKey))
            return [key for key in every if key.caller == target]
        key = self.key(target.removeprefix("key:"))
        if key is None:
            raise _nobody(target)
        return [key]


def checked(scopes: Scopes) -> Scopes:
    """Return scopes in their usual form.  Raises InvalidCall."""
    for operation in scopes.operations:
        if operation not in _OPERATIONS:
            known = ", ".join(sorted(_OPERATIONS))
            raise InvalidCall(f"there is no operation {operation[:40]!r}; known are {known}")
    try:
        networks = tuple(read_network(network) for network in scopes.networks)
    except ValueError as error:
        raise InvalidCall(str(error)) from None
    return msgspec.structs.replace(scopes, networks=networks)


def _nobody(target: str) -> InvalidCall:
    shown = (
        target if len(target) <= 70 and read_id(target) is None else "that key"
    )  # a key is repeated nowhere
    return InvalidCall(
        f"there is no {shown!r}: write a caller's name, key:ID, team:NAME, users:NAME or {EVERYONE}; "
        "`stanchion callers list` shows all",
        status=404,
        code="unknown_caller",
    )
