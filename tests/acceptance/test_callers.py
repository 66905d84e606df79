"""Callers with keys of their own: two replicas on one PostgreSQL, the commands, what is refused and with which words."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from stanchion.rules.virtual_key import read_id
from tests.acceptance.raw_client import ask
from tests.acceptance.stage import ASKED, QUICK, Gateway, Provider, provider, settled
from tests.contract.servers import PostgresServer, at_hand

REVOKED_WITHIN_S = 5.0
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with at_hand(PostgresServer) as server:
        yield server


@pytest.fixture
def settings(one: Provider) -> str:
    return QUICK + provider("one", one.base_url, "models = []") + "[callers]\nrequired = true\n"


def command(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "stanchion", "callers", *arguments],
        env=own | {"STANCHION_STORES_CALLERS": url},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def made(folder: Path, url: str, *arguments: str) -> str:
    """Add a caller and return its key: all that the command writes to standard output."""
    done = command(folder, url, "add", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in done.stderr
    return done.stdout.strip()


def asked(running: Gateway, key: str | None, *, model: str = "gpt-4o", path: str = "/v1/chat/completions"):
    body: dict[str, Any] = {"model": model, "messages": ASKED, "max_tokens": 4}
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    return ask(running.port, body, path=path, headers=headers)


async def refused_within(gateways: list[Gateway], key: str, within_s: float) -> float:
    """Wait until all refuse the key; returns how long that took."""
    began = time.monotonic()
    open_ones = list(gateways)
    while open_ones:
        assert time.monotonic() < began + within_s, "a revoked key is still let in"
        answer = await asked(open_ones[0], key)
        if answer.status == 401:
            open_ones.pop(0)
        else:
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def test_a_revoked_key_is_refused_by_both_replicas_within_five_seconds_and_after_a_restart(
    tmp_path: Path, settings: str, postgres: PostgresServer
) -> None:
    settings += f'[stores]\ncallers = "{postgres.url}"\n'
    key = made(tmp_path, postgres.url, "shop", "--team", "web")
    other = made(tmp_path, postgres.url, "other")
    replicas = [Gateway(tmp_path, settings, log_level="debug") for _ in range(3)]
    with replicas[0] as one, replicas[1] as two:
        for each in (one, two):
            assert (await asked(each, key)).status == 200
        done = command(tmp_path, postgres.url, "revoke", "shop")
        assert done.returncode == 0, done.stderr
        await refused_within([one, two], key, REVOKED_WITHIN_S)
        answer = await asked(one, key)
        assert answer.error["code"] == "key_revoked"
        assert (await asked(two, other)).status == 200
        logs = one.log + two.log
    with replicas[2] as again:
        assert (await asked(again, key)).status == 401
        assert (await asked(again, other)).status == 200
        logs += again.log
    assert read_id(key) is not None
    assert '"callers.changed"' in logs
    for each in (key, other):
        secret = each.rpartition("-")[2]
        assert all(secret[at : at + 12] not in logs for at in range(len(secret) - 12))


async def test_what_the_sdk_sees_of_keys_that_are_wrong(tmp_path: Path, settings: str, one: Provider) -> None:
    url = f"sqlite://{tmp_path}/callers.db"
    key = made(tmp_path, url, "shop", "--model", "gpt-4o*", "--operation", "chat/completions")
    far = made(tmp_path, url, "far", "--network", "10.0.0.0/8")
    with Gateway(tmp_path, settings + f'[stores]\ncallers = "{url}"\n') as running:
        one.plan()

        async def fails(key: str, model: str = "gpt-4o") -> openai.APIStatusError:
            async with openai.AsyncOpenAI(base_url=running.base_url, api_key=key, max_retries=0) as client:
                with pytest.raises(openai.APIStatusError) as raised:
                    await client.chat.completions.create(model=model, messages=ASKED)
            assert key not in str(raised.value)
            return raised.value

        async with openai.AsyncOpenAI(base_url=running.base_url, api_key=key) as client:
            await client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, max_tokens=2)
            listed = [model.id async for model in client.models.list()]
        assert listed
        assert all(name.startswith("gpt-4o") for name in listed)
        answer = await ask(running.port, b"", method="GET", path="/v1/models")
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        large = [
            {"role": "user", "content": "x" * 8_000_000}
        ]  # refused while it still sends: it must see why
        async with openai.AsyncOpenAI(base_url=running.base_url, api_key="sk-no", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="gpt-4o", messages=large)  # type: ignore[arg-type]
        for wrong in ("sk-any", "sk-st-nonsense", key[:-1], key[:-1] + ("0" if key[-1] != "0" else "1")):
            error = await fails(wrong)
            assert isinstance(error, openai.AuthenticationError)
            assert error.code == "invalid_api_key"
        error = await fails(key, "o3")
        assert isinstance(error, openai.PermissionDeniedError)
        assert (error.code, error.param) == ("model_not_allowed", "model")
        assert (await fails(far)).code == "network_not_allowed"
        answer = await ask(
            running.port, {"model": "gpt-4o", "input": "x"}, path="/v1/embeddings", headers={"api-key": key}
        )
        assert (answer.status, answer.error["code"]) == (403, "operation_not_allowed")
        answer = await asked(running, None)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert "Bearer sk-st-" in answer.error["message"]
        assert len(one.calls) == 1  # nothing that was refused was sent on
        await settled(lambda: '"caller":"shop"' in running.log)
        ended = [json.loads(line) for line in running.log.splitlines() if '"chat/completions"' in line]
        assert {(line["caller"], line["caller_key"]) for line in ended if line["outcome"] == "completed"} == {
            ("shop", read_id(key))
        }


async def test_without_required_keys_are_optional_and_those_that_come_must_be_good(
    tmp_path: Path, settings: str
) -> None:
    url = f"sqlite://{tmp_path}/callers.db"
    key = made(tmp_path, url, "shop")
    settings = settings.replace("required = true", "required = false") + f'[stores]\ncallers = "{url}"\n'
    with Gateway(tmp_path, settings) as running:
        assert (await asked(running, None)).status == 200
        assert (await asked(running, "sk-anything")).status == 200
        assert (await asked(running, key)).status == 200
        assert (await asked(running, key[:-1])).status == 401
        assert command(tmp_path, url, "revoke", key).returncode == 0
        await refused_within([running], key, REVOKED_WITHIN_S)
        assert (await asked(running, None)).status == 200


async def test_a_rotated_key_leaves_the_old_one_a_while(tmp_path: Path, settings: str) -> None:
    url = f"sqlite://{tmp_path}/callers.db"
    old = made(tmp_path, url, "shop", "--model", "gpt-4o")
    with Gateway(tmp_path, settings + f'[stores]\ncallers = "{url}"\n') as running:
        done = command(tmp_path, url, "rotate", "shop", "--grace", "3s")
        assert done.returncode == 0, done.stderr
        new = done.stdout.strip()
        await settled(lambda: '"what":"added"' in running.log, REVOKED_WITHIN_S)
        assert (await asked(running, new)).status == 200
        assert (await asked(running, new, model="o3")).status == 403  # it is for the same
        await refused_within([running], old, 8.0)
        assert (await asked(running, old)).error["code"] == "key_expired"
        listed = json.loads(command(tmp_path, url, "list", "--json").stdout)
        assert {row["state"] for row in listed if row["kind"] == "key"} == {"expired", "works"}
        shown = command(tmp_path, url, "list").stdout
        assert re.search(r"sk-st-\w{8}\b", shown)
        assert new.rpartition("-")[2] not in shown


async def test_two_replicas_keep_one_limit_of_a_team_to_the_call(
    tmp_path: Path, settings: str, postgres: PostgresServer
) -> None:
    url = f"sqlite://{tmp_path}/callers.db"
    keys = [made(tmp_path, url, name, "--team", "web") for name in ("shop", "blog")]
    done = command(tmp_path, url, "limit", "team:web", "requests=5/day", "open=40", "tokens=1000000/month")
    assert (done.returncode, done.stdout.strip()) == (
        0,
        "team:web: requests=5/day, open=40, tokens=1000000/month",
    )
    settings += f'[stores]\ncallers = "{url}"\nlimits = "{postgres.url}"\n'
    with Gateway(tmp_path, settings) as one, Gateway(tmp_path, settings) as two:
        async with asyncio.TaskGroup() as group:  # all at once
            tasks = [group.create_task(asked((one, two)[n % 2], keys[n // 2 % 2])) for n in range(40)]
        statuses = [task.result().status for task in tasks]
        assert sorted(statuses) == [200] * 5 + [429] * 35
        refused = await asked(one, keys[0])
        assert "team web has used its limit of 5 requests a day" in refused.error["message"]
        assert (refused.error["type"], refused.error["code"]) == ("rate_limit_error", "caller_limit_reached")
        assert 16_000 < int(refused.headers["retry-after"]) <= 17_280  # a fifth of a day
        assert refused.headers["x-should-retry"] == "false"
        assert command(tmp_path, url, "limit", "team:web", "none").returncode == 0
        await settled(lambda: '"callers.changed"' in one.log, REVOKED_WITHIN_S)
        assert (await asked(one, keys[0])).status == 200


async def test_new_settings_forget_nothing_that_was_used(tmp_path: Path, settings: str) -> None:
    url = f"sqlite://{tmp_path}/callers.db"
    key = made(tmp_path, url, "shop", "--limit", "requests=2/day")
    with Gateway(tmp_path, settings + f'[stores]\ncallers = "{url}"\n') as running:
        assert [(await asked(running, key)).status for _ in range(3)] == [200, 200, 429]
        text = running.file.read_text(encoding="utf-8")
        running.file.write_text(text.replace("required = true", "required = false"), encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10):
            while (await asked(running, None)).status == 401:  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.1)
        assert (await asked(running, key)).status == 429
