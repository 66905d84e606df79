"""The paths under /_sim: what arrived, what is open, and the plan of faults. Never part of the log."""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec

from stanchion.simulator.answer import ENCODER
from stanchion.simulator.batch_options import BatchFaultPlan
from stanchion.simulator.batches import Batches
from stanchion.simulator.errors import ApiError
from stanchion.simulator.exchange import Exchange, Request
from stanchion.simulator.faults import FaultPlan
from stanchion.simulator.keys import KeyPlan
from stanchion.simulator.state import State

INDEX = {
    "name": "stanchion simulator",
    "base_url": "/v1",
    "paths": ["/_sim/calls?since=ID", "/_sim/faults", "/_sim/batches", "/_sim/keys", "/_sim/open"],
}
_ALLOWED = {
    "/_sim/calls": ("GET", "DELETE"),
    "/_sim/faults": ("GET", "PUT", "DELETE"),
    "/_sim/batches": ("GET", "PUT", "DELETE"),
    "/_sim/keys": ("GET", "PUT", "DELETE"),
    "/_sim/open": ("GET",),
    "/": ("GET", "HEAD"),
    "/healthz": ("GET", "HEAD"),
}


def serve(state: State, exchange: Exchange, batches: Batches) -> None:
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
        exchange.whole(200, (), ENCODER.encode(_answer(state, exchange, batches)))
    except ApiError as error:
        exchange.whole(error.status, error.headers, error.body)


def _answer(state: State, exchange: Exchange, batches: Batches) -> object:
    request = exchange.request
    match request.path:
        case "/_sim/calls":
            if request.method == "DELETE":
                state.calls.clear()
                return {"calls": []}
            calls = state.calls.since(_since(request.query))
            return {"calls": calls, "dropped": state.calls.dropped}
        case "/_sim/faults":
            _plan(state.faults, request)
            return {"faults": state.faults.pending()}
        case "/_sim/batches":
            _plan(state.batch_faults, request)
            shown = [each.shown() for each in batches.all()]
            return {"faults": state.batch_faults.pending(), "batches": shown}
        case "/_sim/keys":
            if request.method == "PUT":
                state.keys.set(_read_keys(request.body))
            elif request.method == "DELETE":
                state.keys.clear()
            return {"keys": state.keys.shown()}
        case "/_sim/open":
            return {"connections": state.open_connections(), "streams": state.open_streams}
        case _:
            return INDEX


def _plan(plan: FaultPlan | BatchFaultPlan, request: Request) -> None:
    """Change a plan of faults if that is asked.  Raises ApiError."""
    if request.method == "GET":
        return
    try:
        plan.set([] if request.method == "DELETE" else read_faults(request.body))
    except ValueError as error:
        raise ApiError(400, f"{error}.", param="faults") from error


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
