"""What a provider's refusal means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.rules.refusals import PERMANENT, Scope, is_billing, judge, scope_of

AGAIN, DEAD, OTHER, CALLER = "again", "dead", "elsewhere", "caller"


def verdict(status: int, code: str | None = None, kind: str | None = None) -> str:
    found = judge(status, code, kind)
    table = {
        (True, True, False, False): AGAIN,
        (False, True, True, False): DEAD,
        (False, True, False, False): OTHER,
        (False, False, False, True): CALLER,
    }
    return table[found.retryable, found.elsewhere, found.permanent, found.callers_fault]


@pytest.mark.parametrize(
    ("status", "code", "kind", "meant"),
    [
        (400, None, "invalid_request_error", CALLER),
        (400, "context_length_exceeded", "invalid_request_error", CALLER),
        (400, "content_filter", None, CALLER),
        (400, "unsupported_parameter", "invalid_request_error", CALLER),
        (400, "billing_hard_limit_reached", None, DEAD),
        (401, "invalid_api_key", "invalid_request_error", DEAD),
        (401, None, None, DEAD),
        (402, None, None, DEAD),
        (403, "unsupported_country_region_territory", None, OTHER),
        (403, "account_deactivated", None, DEAD),
        (403, None, None, OTHER),
        (404, "model_not_found", None, OTHER),
        (404, None, None, OTHER),
        (400, "model_not_found", None, OTHER),
        (408, None, None, AGAIN),
        (409, None, None, AGAIN),
        (413, None, None, CALLER),
        (422, None, None, CALLER),
        (425, None, None, AGAIN),
        (429, "rate_limit_exceeded", "requests", AGAIN),
        (429, "rate_limit_exceeded", "tokens", AGAIN),
        (429, "slow_down", "rate_limit_error", AGAIN),
        (429, None, None, AGAIN),
        (429, "insufficient_quota", "insufficient_quota", DEAD),
        (429, None, "insufficient_quota", DEAD),
        (429, "credit_balance_exhausted", "insufficient_quota", DEAD),
        (429, "organization_spend_limit_exceeded", "insufficient_quota", DEAD),
        (429, "organization_usage_limit_exceeded", "insufficient_quota", DEAD),
        (429, "project_spend_limit_exceeded", None, DEAD),
        (429, "billing_not_active", None, DEAD),
        (429, "access_terminated", None, DEAD),
        (500, "server_error", None, AGAIN),
        (502, None, None, AGAIN),
        (503, "server_is_overloaded", "service_unavailable_error", AGAIN),
        (504, None, None, AGAIN),
        (520, None, None, AGAIN),
        (529, "overloaded_error", None, AGAIN),
        (418, None, None, CALLER),
    ],
)
def test_the_table(status: int, code: str | None, kind: str | None, meant: str) -> None:
    assert verdict(status, code, kind) == meant


@given(st.integers(400, 599), st.sampled_from(sorted(PERMANENT)), st.booleans())
def test_a_dead_account_is_dead_under_any_status(status: int, word: str, in_code: bool) -> None:
    assert verdict(status, word if in_code else "other", None if in_code else word) == DEAD


@given(st.integers(300, 999), st.none() | st.text(max_size=30), st.none() | st.text(max_size=30))
def test_every_refusal_is_one_of_four(status: int, code: str | None, kind: str | None) -> None:
    assert verdict(status, code, kind) in {AGAIN, DEAD, OTHER, CALLER}


@pytest.mark.parametrize(
    ("status", "code", "kind", "whose", "billing"),
    [
        (401, "invalid_api_key", "invalid_request_error", Scope.KEY, False),
        (401, None, None, Scope.KEY, False),
        (401, "account_deactivated", "invalid_request_error", Scope.ORGANIZATION, False),
        (429, "access_terminated", None, Scope.ORGANIZATION, False),
        (402, None, None, Scope.ORGANIZATION, True),
        (429, "credit_balance_exhausted", "insufficient_quota", Scope.ORGANIZATION, True),
        (429, "organization_spend_limit_exceeded", "insufficient_quota", Scope.ORGANIZATION, True),
        (429, "project_spend_limit_exceeded", "insufficient_quota", Scope.PROJECT, True),
        (429, None, "insufficient_quota", Scope.ORGANIZATION, True),
        (400, "billing_hard_limit_reached", None, Scope.ORGANIZATION, True),
        (403, "unsupported_country_region_territory", "request_forbidden", Scope.NONE, False),
        (403, None, None, Scope.NONE, False),
        (404, "model_not_found", None, Scope.NONE, False),
        (429, "rate_limit_exceeded", "requests", Scope.NONE, False),
        (500, None, None, Scope.NONE, False),
        (400, None, "invalid_request_error", Scope.NONE, False),
    ],
)
def test_a_refusal_says_whose_keys_are_dead(
    status: int, code: str | None, kind: str | None, whose: Scope, *, billing: bool
) -> None:
    assert scope_of(status, code, kind) is whose
    assert is_billing(status, code, kind) is billing


@given(
    st.integers(400, 599),
    st.none() | st.sampled_from(sorted(PERMANENT)) | st.text(max_size=8),
    st.none() | st.sampled_from(sorted(PERMANENT)) | st.text(max_size=8),
)
def test_a_key_is_dead_exactly_where_the_refusal_is_for_good(
    status: int, code: str | None, kind: str | None
) -> None:
    assert (scope_of(status, code, kind) is not Scope.NONE) == judge(status, code, kind).permanent
