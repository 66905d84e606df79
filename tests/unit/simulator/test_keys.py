"""What becomes of single keys while the simulator runs."""

from __future__ import annotations

import pytest

from stanchion.simulator.errors import ApiError
from stanchion.simulator.keys import KeyPlan, KeyTable, refuse
from stanchion.simulator.log import fingerprint

KEY = "sk-canary-0123456789"


def test_a_revoked_key_gets_401_everywhere_and_an_unpaid_one_still_gets_the_list() -> None:
    for lists in (False, True):
        with pytest.raises(ApiError) as raised:
            refuse(KeyPlan(key=KEY, state="revoked"), lists=lists)
        assert raised.value.status == 401
    refuse(KeyPlan(key=KEY, state="unpaid"), lists=True)
    with pytest.raises(ApiError) as raised:
        refuse(KeyPlan(key=KEY, state="unpaid"), lists=False)
    assert (raised.value.status, b"credit_balance_exhausted" in raised.value.body) == (429, True)


def test_a_table_knows_keys_by_their_fingerprints_and_shows_none() -> None:
    table = KeyTable()
    table.set([KeyPlan(key=KEY, state="revoked", organization="org-a"), KeyPlan(key="")])
    found = table.of(fingerprint(f"Bearer {KEY}"))
    assert found is not None
    assert (found.state, found.organization) == ("revoked", "org-a")
    assert table.of(None) is None
    assert "canary" not in repr(table.shown()) + repr(found) + repr(KeyPlan(key=KEY)) + repr(vars(table))
    table.clear()
    assert table.of(fingerprint(KEY)) is None


def test_a_code_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such_code"):
        KeyPlan(key=KEY, code="no_such_code")
