"""The paths under /_sim: what arrived, what is open, and the plan of faults. Never part of the log."""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec

from stanchion.simulator.answer import ENCODER
from stanchion.simulator.errors import ApiError
from stanchion.simulator.exchange import Exchange
from stanchion.simulator.keys import KeyPlan
from stanchion.simulator.state import State

INDEX = {
    "name": "stanchion simulator",
    "base_url": "/v1",
    "paths": ["/_sim/calls?since=ID", "/_sim/faults", "/_sim/keys", "/_sim/open"],
}
_ALLOWED = {
    "/_sim/calls": ("GET", "DELETE"),
    "/_sim/faults": ("GET", "PUT", "DELETE"),
    "/_sim/keys": ("GET", "PUT", "DELETE"),
    "/_sim/open": ("GET",),
    "/": ("GET", "HEAD"),
    "/healthz": ("GET", "HEAD"),
}


def serve(state: State, exchange: Exchange) -> None:
    """Answer a request that is not for the simulated API."""
    request = exchange.request
    try:
        allowed = _ALLOWED.get(request.path)
        if allowed is None:
            raise ApiError(404, f"Invalid URL ({request.method} {request.path})")
        if request.method not in allowed:
            raise ApiError(
                405,
                f"Not allowed to {request.method} on {request.path}. Use {' or '.join(allowed)}.",
                headers=(("allow", ", ".join(allowed)),),
            )
        exchange.whole(200, (), ENCODER.encode(_answer(state, exchange)))
    except ApiError as error:
        exchange.whole(error.status, error.headers, error.body)


def _answer(state: State, exchange: Exchange) -> object:
    request = exchange.request
    if request.path == "/_sim/calls":
        if request.method == "DELETE":
            state.calls.clear()
            return {"calls": []}
        calls = state.calls.since(_since(request.query))
        return {"calls": calls, "dropped": state.calls.dropped}
    if request.path == "/_sim/faults":
        if request.method != "GET":
            wanted = [] if request.method == "DELETE" else read_faults(request.body)
            try:
                state.faults.set(wanted)
            except ValueError as error:
                raise ApiError(400, f"{error}.", param="faults") from error
        return {"faults": state.faults.pending()}
    if request.path == "/_sim/keys":
        if request.method == "PUT":
            state.keys.set(_read_keys(request.body))
        elif request.method == "DELETE":
            state.keys.clear()
        return {"keys": state.keys.shown()}
    if request.path == "/_sim/open":
        return {"connections": state.open_connections(), "streams": state.open_streams}
    return INDEX


def read_faults(body: bytes) -> list[str | dict[str, object]]:
    """A JSON list of faults (text or objects), or an object with that list under `faults`. Raises ApiError."""
    try:
        given = msgspec.json.decode(body, type=list[str | dict[str, object]] | _Plan)
    except msgspec.MsgspecError as error:
        raise ApiError(400, f"The plan of faults cannot be read: {error}.") from error
    return given.faults if isinstance(given, _Plan) else given


class _Plan(msgspec.Struct, forbid_unknown_fields=True):
    faults: list[str | dict[str, object]]


def _read_keys(body: bytes) -> list[KeyPlan]:
    """A JSON list of keys, or an object with that list under `keys`. Raises ApiError, without the keys."""
    try:
        given = msgspec.json.decode(body, type=list[KeyPlan] | _Keys)
    except msgspec.MsgspecError as error:
        raise ApiError(400, f"The keys cannot be read: {error}.", param="keys") from None
    return given.keys if isinstance(given, _Keys) else given


class _Keys(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[KeyPlan]


def _since(query: str) -> int:
    given = parse_qs(query).get("since", ["0"])[0]
    if not given.isdigit():
        raise ApiError(400, f"since={given!r} is not the id of a call.", param="since")
    return int(given)
