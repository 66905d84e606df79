"""What a key may be used for, and limits as words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.core.caller import CallerKey, Limit, Scopes
from stanchion.rules.caller_limits import MOST, WINDOWS, cost_s, read_limits, say_limit, write_limit
from stanchion.rules.caller_scope import allows_model, client_address, fault_of, in_networks, read_network

CHAT = "chat/completions"
KEY = CallerKey("k", "shop", b"")


def fault(now: float = 100.0, address: str = "10.1.2.3", operation: str = CHAT, **facts) -> str | None:
    key = CallerKey("k", "shop", b"", **facts)
    return fault_of(key, now, operation=operation, address=address)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, None),
        ({"revoked_at": 200.0}, "key_revoked"),
        ({"expires_at": 100.0}, "key_expired"),
        ({"expires_at": 100.1}, None),
        ({"scopes": Scopes(operations=("embeddings",))}, "operation_not_allowed"),
        ({"scopes": Scopes(operations=("embeddings", CHAT))}, None),
        ({"scopes": Scopes(operations=("embeddings",)), "operation": "models"}, None),
        ({"scopes": Scopes(networks=("10.1.0.0/16",))}, None),
        ({"scopes": Scopes(networks=("10.2.0.0/16", "2001:db8::/32"))}, "network_not_allowed"),
        ({"scopes": Scopes(networks=("10.1.0.0/16",)), "address": "::ffff:10.1.9.9"}, None),
        ({"scopes": Scopes(networks=("0.0.0.0/0",)), "address": ""}, "network_not_allowed"),
        ({"scopes": Scopes(networks=("0.0.0.0/0",)), "address": "2001:db8::1"}, "network_not_allowed"),
    ],
)
def test_a_key_may_be_used_or_not(facts, expected) -> None:
    assert fault(**facts) == expected


@pytest.mark.parametrize(
    ("patterns", "model", "expected"),
    [
        ((), "anything", True),
        (("gpt-4o*",), "gpt-4o-mini", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o", "deepseek/*"), "deepseek/deepseek-chat", True),
        (("gpt-*",), "GPT-4o", False),
    ],
)
def test_models_are_compared_by_patterns(patterns, model, expected) -> None:
    assert allows_model(CallerKey("k", "c", b"", scopes=Scopes(models=patterns)), model) is expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("10.0.0.1", "1.2.3.4", (), "10.0.0.1"),  # nobody is trusted
        ("9.9.9.9", "1.2.3.4", ("10.0.0.0/8",), "9.9.9.9"),  # the peer is no proxy of ours: it made that up
        ("10.0.0.1", "1.2.3.4", ("10.0.0.0/8",), "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", ("10.0.0.0/8",), "1.2.3.4"),  # 6.6.6.6 is made up
        ("10.0.0.1", "10.0.0.9,10.0.0.2", ("10.0.0.0/8",), "10.0.0.9"),
        ("10.0.0.1", "", ("10.0.0.0/8",), "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4:5678, 10.0.0.2:443", ("10.0.0.0/8",), "1.2.3.4:5678"),  # Azure writes the port
        ("10.0.0.1", "unknown", ("10.0.0.0/8",), "unknown"),  # it lies in no network
    ],
)
def test_a_forwarded_address_is_believed_of_trusted_proxies_alone(peer, forwarded, trusted, expected) -> None:
    assert client_address(peer, forwarded, trusted) == expected


@given(st.text(), st.text())
def test_no_address_breaks_anything(peer: str, forwarded: str) -> None:
    assert in_networks(peer, ("10.0.0.0/8",)) in (True, False)
    client_address(peer, forwarded, ("10.0.0.0/8",))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3:443", True),
        ("[::ffff:10.1.2.3]:443", True),
        ("11.1.2.3:443", False),
        ("10.1.2.3:443:1", False),
        ("10.1.2", False),
    ],
)
def test_an_address_may_come_with_a_port(address: str, expected: bool) -> None:
    assert in_networks(address, ("10.0.0.0/8",)) is expected


def test_a_network_is_read_strictly() -> None:
    assert read_network(" 10.0.0.0/8 ") == "10.0.0.0/8"
    for wrong in ("10.0.0.1/8", "ten", ""):
        with pytest.raises(ValueError, match="is no network"):
            read_network(wrong)


def test_limits_are_read_from_words() -> None:
    assert read_limits(["requests=100/minute", "tokens=2000000/day", "open=5"]) == (
        Limit("requests", 100, 60),
        Limit("tokens", 2_000_000, 86_400),
        Limit("open", 5),
    )
    assert [say_limit(each) for each in read_limits(["requests=9/hour", "tokens=7/month", "open=2"])] == [
        "9 requests an hour",
        "7 tokens a month",
        "2 calls open at once",
    ]


@pytest.mark.parametrize(
    "word",
    [
        "requests=0/minute",
        "requests=5",
        "open=5/minute",
        "open=0",
        "money=5/day",
        "tokens=-1/day",
        "",
        f"open={MOST}0",
    ],
)
def test_what_is_no_limit_is_refused_with_what_to_write(word: str) -> None:
    with pytest.raises(ValueError, match=r"write requests|a limit is from 1"):
        read_limits([word])


def test_two_limits_for_the_same_time_are_refused() -> None:
    with pytest.raises(ValueError, match="two limits"):
        read_limits(["requests=5/day", "requests=6/day"])


LIMITS = st.builds(
    Limit,
    st.sampled_from(["requests", "tokens"]),
    st.integers(1, MOST),
    st.sampled_from(list(WINDOWS.values())),
)


@given(LIMITS)
def test_a_limit_is_read_as_it_is_written(limit: Limit) -> None:
    assert read_limits([write_limit(limit)]) == (limit,)
    assert cost_s(limit, limit.most) == pytest.approx(limit.window_s)
