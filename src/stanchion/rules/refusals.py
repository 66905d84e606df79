"""What a provider's refusal means: is it worth asking again, is it worth asking elsewhere, is the key dead?

Judged by `error.code`, then `error.type`, then the HTTP status.  Sources: OpenAI, "Error codes" and
"Spend limits"; the SDK's own retry table; codes newer than those are in PERMANENT too.
"""

from __future__ import annotations

import enum

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
# The account must be paid or its bound raised: the list of models is answered all the same.
BILLING = frozenset(
    {
        "insufficient_quota",
        "billing_not_active",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)
# A tier of the provider's is full: it says nothing about what this key may do, and was not charged.
NO_CAPACITY = frozenset({"resource_unavailable"})
_OF_PROJECT = frozenset({"project_spend_limit_exceeded"})
_OF_KEY = frozenset({"invalid_api_key"})
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


class Scope(enum.Enum):
    """Whose keys a refusal for good is about."""

    NONE = "none"  # no key's: the call, the model or the moment was wrong
    KEY = "key"  # this one's
    PROJECT = "project"  # those of the same project
    ORGANIZATION = "organization"  # those of the same organization


def scope_of(status: int, code: str | None, kind: str | None) -> Scope:
    """Say whose keys are dead by a refusal with this HTTP status, `error.code` and `error.type`."""
    known = code if code in PERMANENT else kind if kind in PERMANENT else None
    if known in _OF_PROJECT:
        return Scope.PROJECT
    if known is not None and known not in _OF_KEY:
        return Scope.ORGANIZATION
    if known is not None or (status == 401 and code not in _ELSEWHERE):
        return Scope.KEY
    if status == 402 and code not in _ELSEWHERE:
        return Scope.ORGANIZATION
    return Scope.NONE


def is_billing(status: int, code: str | None, kind: str | None) -> bool:
    """Say whether only a real call can tell that it passed: the list of models is free, and answers."""
    return status == 402 or code in BILLING or (code not in PERMANENT and kind in BILLING)
