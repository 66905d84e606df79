"""Checks who calls, before anything is read of the body, and writes on the call who that is.

`Authorization: Bearer sk-st-…` or `api-key: sk-st-…`.  Where `callers.required` is false, a call without a key of
this form passes as before; a key of this form must be good even so: who sends one means it, and a revoked one must not
become a way in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from stanchion.core.call import Call, Operation
from stanchion.core.caller import Standing
from stanchion.core.errors import NotAllowed, Unauthorized, Unavailable
from stanchion.engine.settings import CallersOptions
from stanchion.gateway.callers.index import CallerIndex, Known
from stanchion.gateway.callers.watch import CallerWatch
from stanchion.rules.caller_scope import Fault, allows_model, client_address, fault_of
from stanchion.rules.virtual_key import PREFIX, read_id

_AGAIN_S = 2.0
_FORWARDED = b"x-forwarded-for"
_SAID: Mapping[Fault, str] = {
    "key_revoked": "was revoked",
    "key_expired": "has expired",
    "network_not_allowed": "may not be used from this address",
    "operation_not_allowed": "is not for this operation",
    "model_not_allowed": "is not for this model",
}


class Admitted(msgspec.Struct, frozen=True):
    """Who was let in.  Without `known` nobody in particular."""

    known: Known | None
    everyone: Standing | None  # what counts for all, where anything does

    @property
    def owner(self) -> str:
        """Name the caller; "" is nobody in particular."""
        return self.known.caller.name if self.known is not None else ""

    @property
    def key_name(self) -> str:
        """Return the public part of the key; "" without one."""
        return self.known.key.name if self.known is not None else ""

    def sign(self, call: Call) -> Call:
        """Return the call with who makes it.  Raises NotAllowed if that one may not ask this model."""
        known = self.known
        if known is not None:
            if not allows_model(known.key, call.model):
                raise refusal(known, "model_not_allowed", param="model")
            return call.having(
                caller=known.caller.name,
                caller_key=known.key.name,
                team=known.caller.team,
                options={**call.options, Standing: known.standing},
            )
        if self.everyone is not None:
            return call.having(options={**call.options, Standing: self.everyone})
        return call

    def may_ask(self, model: str) -> bool:
        """Say whether a model is to be listed."""
        return self.known is None or allows_model(self.known.key, model)


ANYBODY = Admitted(None, None)


class Door:
    """The one place where a key is checked."""

    def __init__(
        self,
        watch: CallerWatch | None,
        options: Callable[[], CallersOptions],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`wall` tells the time of day, in seconds since 1970."""
        self._watch = watch
        self._options = options
        self._wall = wall

    def admit(self, headers: Mapping[bytes, bytes], peer: str, operation: Operation) -> Admitted:
        """Let a call in.  Raises Unauthorized (401), NotAllowed (403) or Unavailable (503)."""
        if self._watch is None:
            return ANYBODY
        options, index, text = self._options(), self._watch.index, key_in(headers)
        if not text.startswith(PREFIX):
            if options.required:
                raise Unauthorized("this gateway needs a key: send it as 'Authorization: Bearer sk-st-…'")
            return Admitted(None, index.everyone) if index is not None and index.everyone.levels else ANYBODY
        if index is None:
            raise Unavailable(
                "the store of callers cannot be read, so nobody's key can be checked",
                code="callers_unknown",
                retry_after_s=_AGAIN_S,
            )
        known = _find(index, text)
        address = self.address(headers, peer) if known.key.scopes.networks else peer
        fault = fault_of(known.key, self._wall(), operation=operation.path, address=address)
        if fault is not None:
            raise refusal(known, fault)
        return Admitted(known, None)

    def again(self, key_name: str, operation: Operation) -> Admitted:
        """Let the owner of a job in once more, by the public part of its key.  Raises as `admit`.

        The address was checked when the job was given.
        """
        index = self._watch.index if self._watch is not None else None
        if not key_name:
            return Admitted(None, index.everyone) if index is not None and index.everyone.levels else ANYBODY
        known = index.named(key_name) if index is not None else None
        if known is None:
            raise Unavailable("the key of this job is not known here now", code="callers_unknown")
        scopes = msgspec.structs.replace(known.key.scopes, networks=())
        key = msgspec.structs.replace(known.key, scopes=scopes)
        fault = fault_of(key, self._wall(), operation=operation.path, address="")
        if fault is not None:
            raise refusal(known, fault)
        return Admitted(known, None)

    def address(self, headers: Mapping[bytes, bytes], peer: str) -> str:
        """Return the client's address: the peer's, or the one that a trusted proxy tells."""
        trusted = self._options().trusted_proxies
        if not trusted:
            return peer
        return client_address(peer, headers.get(_FORWARDED, b"").decode("latin-1"), trusted)


def headers_of(lines: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name.  Of several with one name the last counts, but forwarded addresses are one list.

    Proxies that add a line of their own each would otherwise hide the client behind the last proxy.
    """
    lines = tuple(lines)
    headers = dict(lines)
    if _FORWARDED in headers:
        headers[_FORWARDED] = b",".join([value for name, value in lines if name == _FORWARDED])
    return headers


def key_in(headers: Mapping[bytes, bytes]) -> str:
    """Return the key a request came with; "" if there is none."""
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip().decode("latin-1")
    return headers.get(b"api-key", b"").strip().decode("latin-1")


def refusal(known: Known, fault: Fault, **facts: str) -> Unauthorized | NotAllowed:
    """Make the error for a key that is known and may not be used for this."""
    kind = Unauthorized if fault in ("key_revoked", "key_expired") else NotAllowed
    return kind(f"the key {PREFIX}{known.key.name} {_SAID[fault]}", code=fault, **facts)


def _find(index: CallerIndex, text: str) -> Known:
    known = index.find(text)
    if known is not None:
        return known
    if read_id(text) is None:
        raise Unauthorized("this is no whole key: it was mistyped or cut off (its checksum does not fit)")
    raise Unauthorized("this key is not known here")
