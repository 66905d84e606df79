"""The simulated provider: what happens to each request, from the key to the last byte.

Order, as at OpenAI: route, key, shape of the body, quota, then the model. A fault strikes after the key and
before the quota, so an injected 429 costs no quota.
"""

from __future__ import annotations

import time
from typing import cast

from stanchion.simulator import admin
from stanchion.simulator.attempt import ENDPOINTS, Attempt
from stanchion.simulator.batches import Batches
from stanchion.simulator.errors import ApiError, code_error
from stanchion.simulator.exchange import Exchange
from stanchion.simulator.keys import refuse
from stanchion.simulator.log import KEPT_HEADERS, CallRecord, fingerprint
from stanchion.simulator.models import model_json, models_json
from stanchion.simulator.state import State

_OF_BATCHES = ("/v1/files", "/v1/batches")


class Provider:
    """The way in: `serve`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.batches = Batches(state)

    def serve(self, exchange: Exchange) -> None:
        """Answer one request, now or by a sender that goes on."""
        request = exchange.request
        path = request.path
        if path.startswith("/_sim/") or not path.startswith("/v1/"):
            admin.serve(self._state, exchange, self.batches)
            return
        serial = self._state.calls.next_id()
        record = self._record(exchange, serial)
        exchange.record = record
        self._state.calls.add(record)
        began = time.perf_counter()
        try:
            self._authorize(request.header("authorization"), record, lists=path == "/v1/models")
            if path.startswith(_OF_BATCHES):
                self.batches.serve(exchange, record, began)
                return
            endpoint = ENDPOINTS.get(path)
            if endpoint is None:
                self._models(exchange, path)
                return
            if request.method != "POST":
                raise ApiError(
                    405, f"Not allowed to {request.method} on {path}. Use POST.", headers=(("allow", "POST"),)
                )
            Attempt(self._state, exchange, record, endpoint, began).run()
        except ApiError as error:
            headers = [*self._state.headers(record, began), *error.headers]
            exchange.whole(error.status, headers, error.body)

    def _record(self, exchange: Exchange, serial: int) -> CallRecord:
        request = exchange.request
        headers = request.headers
        return CallRecord(
            id=serial,
            request_id=f"req_{serial:032x}",
            at=time.time(),
            method=request.method,
            path=request.path,
            idempotency_key=headers.get("idempotency-key"),
            key_fingerprint=fingerprint(headers.get("authorization", "")),
            headers={
                name: value
                for name, value in headers.items()
                if name in KEPT_HEADERS or name.startswith("x-stanchion-")
            },
        )

    def _authorize(self, authorization: str, record: CallRecord, *, lists: bool) -> None:
        plan = self._state.keys.of(record.key_fingerprint)
        if plan is not None:
            refuse(plan, lists=lists)
            return
        if not self._state.options.keys:
            return
        key = authorization.removeprefix("Bearer ").strip()
        if key in self._state.options.keys:
            return
        if not key:
            raise ApiError(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        shown = f"{key[:3]}{'*' * 8}{key[-4:]}" if len(key) > 12 else "*" * len(key)
        raise ApiError(401, f"Incorrect API key provided: {shown}.", code="invalid_api_key")

    def _models(self, exchange: Exchange, path: str) -> None:
        """GET /v1/models and /v1/models/{id}; everything else is unknown."""
        record = cast("CallRecord", exchange.record)
        method = exchange.request.method
        if path != "/v1/models" and not path.startswith("/v1/models/"):
            raise ApiError(404, f"Invalid URL ({method} {path})")
        if method not in ("GET", "HEAD"):
            raise ApiError(
                405, f"Not allowed to {method} on {path}. Use GET.", headers=(("allow", "GET, HEAD"),)
            )
        wanted = path.removeprefix("/v1/models").strip("/")
        if wanted and wanted not in self._state.options.models:
            raise code_error("model_not_found", wanted)
        body = model_json(wanted) if wanted else models_json(self._state.options.models)
        record.completed = True
        exchange.whole(200, self._state.headers(record, time.perf_counter()), body)
