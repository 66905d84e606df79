"""The admin API: callers over HTTP, below /admin, for those who have the admin token.

Without a token in the settings there is no such path.  The token is compared in constant time and is no caller's key:
who may spend may not hand out.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stanchion.core.caller import Caller, CallerKey, Limit, Scopes, Team
from stanchion.core.errors import InvalidCall, SettingsError, Unauthorized, Unavailable
from stanchion.core.secret import Secret
from stanchion.engine.config import Loaded
from stanchion.engine.settings import CallersOptions
from stanchion.gateway.callers.desk import CallerDesk, Made
from stanchion.gateway.callers.door import key_in
from stanchion.gateway.callers.watch import CallerWatch
from stanchion.observe.logs import log_event
from stanchion.rules.caller_limits import read_limits, write_limit
from stanchion.rules.virtual_key import PREFIX
from stanchion.stores.protocols import Callers, StoreLost

log = logging.getLogger(__name__)
T = TypeVar("T")
TOKEN_LEAST = 24  # characters: it opens everything
_BODY_MOST = 64 * 1024
BY = "the admin API"


class Add(msgspec.Struct, forbid_unknown_fields=True):
    """A new key, and its caller where that is new."""

    name: str
    team: str | None = None
    limits: list[str] | None = None
    models: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    expires_in_s: float = 0.0


class SetLimits(msgspec.Struct, forbid_unknown_fields=True):
    """Limits in the place of those that were; an empty list is none."""

    target: str
    limits: list[str]


class Revoke(msgspec.Struct, forbid_unknown_fields=True):
    """A key, or all of a caller."""

    target: str


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    """A key like the one that is there, which works on for a while."""

    target: str
    grace_s: float = 3600.0


def read_token(options: CallersOptions, environ: Mapping[str, str]) -> Secret | None:
    """Read the admin token; None if there is none.  Raises SettingsError, which shows nothing of it."""
    where, text = f"the variable {options.admin_token_env}", environ.get(options.admin_token_env, "")
    if options.admin_token_file:
        where = f"the file {options.admin_token_file}"
        try:
            text = Path(options.admin_token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"callers.admin_token_file: {where} cannot be read: {type(error).__name__}"
            ) from None
    elif not text:
        return None
    if len(text) < TOKEN_LEAST:
        raise SettingsError(
            f"the admin token in {where} is shorter than {TOKEN_LEAST} characters: openssl rand -hex 24"
        )
    try:
        return Secret(text, name=f"the admin token in {where}")
    except ValueError as error:
        raise SettingsError(str(error)) from None


class AdminToken:
    """The token of the settings in force.  Raises SettingsError where it cannot be read at the start."""

    def __init__(self, loaded: Callable[[], Loaded]) -> None:
        self._loaded = loaded
        self._of = loaded()
        self._token = read_token(self._of.settings.callers, self._of.environ)

    def __call__(self) -> Secret | None:
        """Return it; None, and /admin is closed, where there is none."""
        loaded = self._loaded()
        if loaded is not self._of:
            self._of = loaded
            try:
                self._token = read_token(loaded.settings.callers, loaded.environ)
            except SettingsError as error:
                self._token = None
                log_event(log, logging.ERROR, "admin.closed", why=str(error))
        return self._token


class Admin:
    """The routes below /admin."""

    def __init__(
        self,
        watch: CallerWatch | None,
        token: Callable[[], Secret | None],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._watch = watch
        self._token = token
        self._wall = wall
        self.routes = [
            Route("/admin/callers", self._list, methods=["GET"]),
            Route("/admin/callers", self._add, methods=["POST"]),
            Route("/admin/callers/limits", self._limit, methods=["PUT"]),
            Route("/admin/callers/revoke", self._revoke, methods=["POST"]),
            Route("/admin/callers/rotate", self._rotate, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        found = await self._at_desk(request, lambda desk: desk.all())
        return JSONResponse(_listed(found))

    async def _add(self, request: Request) -> Response:
        desk = self._desk(request)
        wanted = await _read(request, Add)
        limits = None if wanted.limits is None else _limits(wanted.limits)
        scopes = Scopes(wanted.models, wanted.operations, wanted.networks)
        expires_at = self._wall() + wanted.expires_in_s if wanted.expires_in_s > 0 else 0.0
        made = await self._done(
            desk.add(wanted.name, team=wanted.team, limits=limits, scopes=scopes, expires_at=expires_at)
        )
        self._say("added", wanted.name)
        return _made(made)

    async def _limit(self, request: Request) -> Response:
        desk = self._desk(request)
        wanted = await _read(request, SetLimits)
        limits = _limits(wanted.limits)
        await self._done(desk.limit(wanted.target, limits))
        self._say("limited", wanted.target)
        return JSONResponse({"target": wanted.target, "limits": [write_limit(limit) for limit in limits]})

    async def _revoke(self, request: Request) -> Response:
        desk = self._desk(request)
        wanted = await _read(request, Revoke)
        gone = await self._done(desk.revoke(wanted.target))
        for name in gone:
            self._say("revoked", PREFIX + name)
        return JSONResponse({"revoked": [PREFIX + name for name in gone]})

    async def _rotate(self, request: Request) -> Response:
        desk = self._desk(request)
        wanted = await _read(request, Rotate)
        if wanted.grace_s < 0:
            raise InvalidCall("grace_s must be 0 or more", param="grace_s")
        made = await self._done(desk.rotate(wanted.target, grace_s=wanted.grace_s))
        self._say("rotated", made.entry.caller)
        return _made(made)

    def _desk(self, request: Request) -> CallerDesk:
        """Check the token before anything else.  404 where there is no admin API."""
        token = self._token()
        if token is None or self._watch is None:
            raise HTTPException(404)
        given = key_in(dict(request.headers.raw))
        if not hmac.compare_digest(given.encode(), token.reveal().encode()):
            log_event(log, logging.WARNING, "admin.refused", path=request.url.path)
            raise Unauthorized("the admin API needs its own token: send it as 'Authorization: Bearer …'")
        return CallerDesk(self._watch.book, BY)

    async def _at_desk(self, request: Request, ask: Callable[[CallerDesk], Awaitable[T]]) -> T:
        return await self._done(ask(self._desk(request)))

    async def _done(self, asked: Awaitable[T]) -> T:
        """Wait for the book, and let this replica see at once what was changed."""
        assert self._watch is not None  # noqa: S101 - the desk was there
        try:
            done = await asked
        except StoreLost:
            raise Unavailable(
                "the store of callers gives no answer", code="callers_unknown", retry_after_s=2.0
            ) from None
        await self._watch.look()
        return done

    def _say(self, what: str, name: str) -> None:
        log_event(log, logging.INFO, "admin.done", what=what, name=name[:80])


async def _read(request: Request, kind: type[T]) -> T:
    size, parts = 0, list[bytes]()
    async for part in request.stream():
        size += len(part)
        if size > _BODY_MOST:
            raise InvalidCall("the request body is too long", status=413, code="body_too_long")
        parts.append(part)
    try:
        return msgspec.json.decode(b"".join(parts), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # its words name fields and types, not values
        raise InvalidCall(f"the body does not fit: {error}", code="invalid_json") from None


def _limits(words: list[str]) -> tuple[Limit, ...]:
    try:
        return read_limits(words)
    except ValueError as error:
        raise InvalidCall(str(error), param="limits") from None


def _made(made: Made) -> Response:
    """Tell the key, this once."""
    entry = made.entry
    told = {
        "key": made.key.text,
        "id": PREFIX + entry.name,
        "caller": entry.caller,
        "expires_at": entry.expires_at or None,
    }
    return JSONResponse(told, 201, {"cache-control": "no-store"})


def _listed(callers: Callers) -> dict[str, Any]:
    return {
        "version": callers.version,
        "teams": [_team(each) for each in callers.entries if isinstance(each, Team)],
        "callers": [_caller(each) for each in callers.entries if isinstance(each, Caller)],
        "keys": [_key(each) for each in callers.entries if isinstance(each, CallerKey)],
    }


def _team(team: Team) -> dict[str, Any]:
    return {
        "name": team.name,
        "limits": [write_limit(each) for each in team.limits],
        "by": team.by,
        "at": team.at,
    }


def _caller(caller: Caller) -> dict[str, Any]:
    return {
        "name": caller.name,
        "team": caller.team or None,
        "limits": [write_limit(each) for each in caller.limits],
        "user_limits": [write_limit(each) for each in caller.user_limits],
        "by": caller.by,
        "at": caller.at,
    }


def _key(key: CallerKey) -> dict[str, Any]:
    """Tell what a key is for; of the key itself nothing, not even its digest."""
    return {
        "id": PREFIX + key.name,
        "caller": key.caller,
        "limits": [write_limit(each) for each in key.limits],
        "models": key.scopes.models,
        "operations": key.scopes.operations,
        "networks": key.scopes.networks,
        "made_at": key.made_at,
        "expires_at": key.expires_at or None,
        "revoked_at": key.revoked_at or None,
        "by": key.by,
        "at": key.at,
    }
