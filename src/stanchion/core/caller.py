"""Who may call: teams, their callers, the callers' keys, and what each may use.  Holds no key, only its HMAC.

A key belongs to a caller, a caller to at most one team.  Scopes are of a key, limits of all levels.
"""

from __future__ import annotations

from typing import Literal

import msgspec

EVERYONE = "everyone"


class Limit(msgspec.Struct, frozen=True):
    """So much at most: requests or tokens in a window, or calls open at the same time."""

    what: Literal["requests", "tokens", "open"]
    most: int
    window_s: int = 0  # of `open` there is none


class Scopes(msgspec.Struct, frozen=True):
    """What a key may be used for; an empty tuple is everything."""

    models: tuple[str, ...] = ()  # patterns, `gpt-4o*`, of what callers write as `model`
    operations: tuple[str, ...] = ()  # paths below /v1, `chat/completions`
    networks: tuple[str, ...] = ()  # CIDR


ANYTHING = Scopes()


class Team(msgspec.Struct, frozen=True, tag="team"):
    """Callers who share limits.  The one that is called `everyone` is all callers together."""

    name: str
    limits: tuple[Limit, ...] = ()
    by: str = ""  # who wrote this last
    at: float = 0.0  # and when, in seconds since 1970


class Caller(msgspec.Struct, frozen=True, tag="caller"):
    """Who calls: a service, a person, a job."""

    name: str
    team: str = ""
    limits: tuple[Limit, ...] = ()
    user_limits: tuple[Limit, ...] = ()  # of each of its end users, as the call's `user` names them
    by: str = ""
    at: float = 0.0


class CallerKey(msgspec.Struct, frozen=True, tag="key"):
    """One key of a caller.  `name` is its public part."""

    name: str
    caller: str
    digest: bytes  # the HMAC of the whole key with the book's pepper
    scopes: Scopes = ANYTHING
    limits: tuple[Limit, ...] = ()
    made_at: float = 0.0  # seconds since 1970, as all times here
    expires_at: float = 0.0  # 0: never
    revoked_at: float = 0.0  # 0: not revoked
    by: str = ""
    at: float = 0.0


Entry = Team | Caller | CallerKey


class Level(msgspec.Struct, frozen=True):
    """One of the levels at which a call is limited."""

    name: str  # as words: `team research`
    limits: tuple[Limit, ...]


class Standing(msgspec.Struct, frozen=True):
    """Where a call stands: what counts for it at each level.  An option of the call."""

    levels: tuple[Level, ...] = ()
    user_limits: tuple[Limit, ...] = ()
    caller: str = ""
    salt: bytes = b""  # end users are counted by a hash: their names can be addresses of people
