"""What a provider's refusal means: is it worth asking again, is it worth asking elsewhere, is the key dead?

Judged by `error.code`, then `error.type`, then the HTTP status.  Sources: OpenAI, "Error codes" and
"Spend limits"; the SDK's own retry table; codes newer than those are in PERMANENT too.
"""

from __future__ import annotations

import msgspec


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """Facts for the policies."""

    retryable: bool  # the same endpoint may answer the same call later
    elsewhere: bool  # another endpoint or model may answer it
    permanent: bool = False  # this key or account stays refused until a person acts
    callers_fault: bool = False  # no endpoint will ever answer it as it is


PERMANENT = frozenset(
    {
        "insufficient_quota",
        "billing_not_active",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
        "account_deactivated",
        "access_terminated",
        "invalid_api_key",
    }
)
_ELSEWHERE = frozenset({"model_not_found", "unsupported_country_region_territory", "deployment_not_found"})
_RETRYABLE = frozenset({408, 409, 425, 429})

_AGAIN = Verdict(retryable=True, elsewhere=True)
_DEAD = Verdict(retryable=False, elsewhere=True, permanent=True)
_OTHER = Verdict(retryable=False, elsewhere=True)
_CALLER = Verdict(retryable=False, elsewhere=False, callers_fault=True)


def judge(status: int, code: str | None, kind: str | None) -> Verdict:
    """Judge a refusal by its HTTP status, `error.code` and `error.type`."""
    if code in PERMANENT or kind in PERMANENT:
        return _DEAD
    if code in _ELSEWHERE:
        return _OTHER
    if status in (401, 402):
        return _DEAD
    if status in (403, 404):
        return _OTHER
    if status in _RETRYABLE or status >= 500:
        return _AGAIN
    return _CALLER
