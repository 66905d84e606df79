"""Keys of a running gateway: rotation under load, dead keys, recovery, programs, and the commands."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from stanchion.simulator import SimulatorOptions, Timing
from stanchion.simulator.keys import KeyPlan
from stanchion.simulator.log import fingerprint
from tests.acceptance.raw_client import ask
from tests.acceptance.stage import ASKED, Gateway, Provider, settled

OLD, NEW, TWO = "sk-canary-old-5b1e", "sk-canary-new-9d27", "sk-canary-two-11c3"
QUICK_KEYS = """
[retry]
base_s = 0.001
budget_floor = 100000
[keys]
reread_s = 0.1
fetch_s = 0.2
probe_s = {probe_s}
probe_most_s = {probe_s}
"""


@pytest.fixture
def one() -> Iterator[Provider]:
    options = SimulatorOptions(timing=Timing(ttft_s=0.05, tokens_per_s=400.0), keys=(OLD, TWO))
    with Provider(options) as running:
        yield running


def gateway(folder: Path, one: Provider, keys: str, *, probe_s: float = 300.0, **environ: str) -> Gateway:
    settings = QUICK_KEYS.format(probe_s=probe_s)
    settings += f'[providers.a]\nbase_url = "{one.base_url}"\nmodels = []\n{keys}'
    return Gateway(folder, settings, environ=environ)


def plan(one: Provider, *plans: KeyPlan) -> None:
    one.do(lambda: one._sim.keys.set(plans))


def command(running: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "stanchion", "keys", *arguments, "--config", str(running.file)],
        env=own | running._environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def body(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": ASKED, "max_tokens": 20, **more}


def mounted(folder: Path, number: int, value: str) -> Path:
    """Swap a secret as Kubernetes does: a new folder, and a link to it renamed over the old one."""
    data = folder / f"..{number}"
    data.mkdir(parents=True)
    key = data / "key"
    key.write_text(value, encoding="utf-8")
    key.chmod(0o600)
    link = folder / "..data_tmp"
    link.symlink_to(data.name)
    link.rename(folder / "..data")
    if not (folder / "key").is_symlink():
        (folder / "key").symlink_to("..data/key")
    return folder / "key"


async def test_a_rotation_under_load_loses_no_call_and_none_uses_the_old_key_after_it(
    tmp_path, one: Provider
):
    secret = mounted(tmp_path / "secret", 1, OLD)
    with gateway(tmp_path, one, f'key_file = "{secret}"\n') as running:
        statuses, rotated = list[int](), asyncio.Event()

        async def caller(number: int) -> None:
            for turn in range(200):
                seen = await ask(running.port, body(stream=bool((number + turn) % 2)))
                statuses.append(seen.status)
                assert seen.whole
                if rotated.is_set() and turn >= 20:
                    return

        async def rotate() -> None:
            await settled(lambda: len(statuses) > 20)
            mounted(tmp_path / "secret", 2, NEW)
            plan(one, KeyPlan(key=NEW))
            await settled(lambda: running.log.count("key.rotated"), 10.0)
            rotated.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(rotate())
            for number in range(8):
                group.create_task(caller(number))
        assert set(statuses) == {200}
        used = [each.key_fingerprint for each in one.calls]
        assert set(used) == {fingerprint(OLD), fingerprint(NEW)}
        first_new = used.index(fingerprint(NEW))
        assert fingerprint(OLD) not in used[first_new:], (
            "no call begins on the old key after the new one took over"
        )
        # the provider may now revoke it: nobody notices
        plan(one, KeyPlan(key=OLD, state="revoked"))
        assert [(await ask(running.port, body())).status for _ in range(5)] == [200] * 5
        assert "canary" not in running.log
        assert running.metric("stanchion_key_rotations_total", key="a#key", outcome="taken") == 1


async def test_a_new_key_that_the_provider_does_not_know_is_not_taken(tmp_path, one: Provider):
    secret = mounted(tmp_path / "secret", 1, OLD)
    with gateway(tmp_path, one, f'key_file = "{secret}"\n') as running:
        mounted(tmp_path / "secret", 2, "sk-canary-unknown")
        await settled(lambda: "key.refused" in running.log, 10.0)
        assert (await ask(running.port, body())).status == 200
        mounted(tmp_path / "secret", 3, f"{NEW}\n")  # written with echo
        await settled(lambda: "key.source_failed" in running.log, 10.0)
        assert (await ask(running.port, body())).status == 200
        assert '"code":"malformed"' in running.log
        assert "canary" not in running.log


TWO_KEYS = '[[providers.a.keys]]\nenv = "ONE"\n[[providers.a.keys]]\nenv = "TWO"\n'


@pytest.mark.parametrize(
    ("dead", "code"),
    [
        (KeyPlan(key=OLD, state="revoked", organization="org-1"), "invalid_api_key"),
        (KeyPlan(key=OLD, state="unpaid", organization="org-1"), "credit_balance_exhausted"),
        (
            KeyPlan(key=OLD, state="unpaid", code="insufficient_quota", organization="org-1"),
            "insufficient_quota",
        ),
    ],
)
async def test_a_dead_key_gets_no_second_call_and_no_caller_notices(
    tmp_path, one: Provider, dead: KeyPlan, code: str
):
    plan(one, dead, KeyPlan(key=TWO, organization="org-2"))
    with gateway(tmp_path, one, TWO_KEYS, ONE=OLD, TWO=TWO) as running:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(ask(running.port, body()))
        for _ in range(10):
            assert (await ask(running.port, body())).status == 200
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(running.port, body(stream=True))) for _ in range(10)]
        assert {task.result().status for task in (first, *tasks)} == {200}
        used = [each.key_fingerprint for each in one.calls]
        assert used.count(fingerprint(OLD)) == 1
        assert running.metric("stanchion_key_state", key="a#ONE", state="quarantined") == 1
        assert f'"code":"{code}"' in running.log


async def test_keys_of_an_unpaid_organization_fall_together_and_the_answer_names_the_code(
    tmp_path, one: Provider
):
    unpaid = [KeyPlan(key=key, state="unpaid", organization="org-1") for key in (OLD, TWO)]
    plan(one, *(KeyPlan(key=plan.key, organization="org-1") for plan in unpaid))
    with gateway(tmp_path, one, TWO_KEYS, ONE=OLD, TWO=TWO) as running:
        for _ in range(4):
            assert (await ask(running.port, body())).status == 200  # now it is known whose keys they are
        plan(one, *unpaid)
        one.plan()
        assert (await ask(running.port, body())).status == 429
        refused = await ask(running.port, body())
        assert refused.status == 503
        assert "a/gpt-4o#TWO: credit_balance_exhausted" in refused.error["message"]
        assert len(one.calls) == 1


@pytest.mark.timeout(60)
async def test_a_key_that_one_replica_finds_dead_gets_no_call_from_the_other(tmp_path, one: Provider):
    plan(one, KeyPlan(key=OLD, state="unpaid", organization="org-1"), KeyPlan(key=TWO, organization="org-2"))
    shared = TWO_KEYS + f'[stores]\nkeys = "sqlite://{tmp_path}/keys.db"\n'
    with (
        gateway(tmp_path, one, shared, ONE=OLD, TWO=TWO) as here,
        gateway(tmp_path, one, shared, ONE=OLD, TWO=TWO) as there,
    ):
        for _ in range(2):
            assert (await ask(here.port, body())).status == 200
        await settled(lambda: "key.quarantined" in there.log, 10.0)
        for _ in range(5):
            assert (await ask(there.port, body())).status == 200
        used = [each.key_fingerprint for each in one.calls]
        assert used.count(fingerprint(OLD)) == 1
        shown = json.loads(command(there, "list", "--json").stdout)
        assert [(each["key"], each["state"]) for each in shown] == [
            *[("a#ONE", "quarantined: credit_balance_exhausted")] * 2,
            *[("a#TWO", "active")] * 2,
        ]


@pytest.mark.parametrize("state", ["revoked", "unpaid"])
async def test_a_key_comes_back_by_itself(tmp_path, one: Provider, state: Any):
    plan(one, KeyPlan(key=OLD, state=state))
    with gateway(tmp_path, one, 'key_env = "ONE"\n', probe_s=0.3, ONE=OLD) as running:
        assert (await ask(running.port, body())).status in (401, 429)
        plan(one, KeyPlan(key=OLD))
        seen = await ask(running.port, body())  # it waits for the probe, which is soon
        assert seen.status == 200
        await settled(lambda: "key.released" in running.log)


async def test_a_program_gives_keys_that_expire_and_the_next_one_is_taken_in_time(tmp_path, one: Provider):
    plan(one, KeyPlan(key=NEW))
    script = tmp_path / "vault-key"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib\n"
        f"seen = pathlib.Path({str(tmp_path / 'seen')!r})\n"
        f"key = {NEW!r} if seen.exists() else {OLD!r}\nseen.touch()\n"
        "print(json.dumps({'api_key': key, 'expires_in': 2}))\n",
        encoding="utf-8",
    )
    script.chmod(0o700)
    with gateway(tmp_path, one, f'[[providers.a.keys]]\nexec = ["{script}", "kv/openai"]\n') as running:
        assert (await ask(running.port, body())).status == 200
        await settled(lambda: "key.rotated" in running.log, 10.0)
        assert (await ask(running.port, body())).status == 200
        assert [each.key_fingerprint for each in one.calls] == [fingerprint(OLD), fingerprint(NEW)]


@pytest.mark.timeout(60)  # boto3 takes its time
async def test_a_key_in_aws_secrets_manager_is_rotated_there(tmp_path, one: Provider):
    plan(one, KeyPlan(key=NEW))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        secrets: Any = boto3.client(
            "secretsmanager",
            endpoint_url=f"http://{host}:{port}",
            region_name="eu-west-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        await asyncio.to_thread(
            secrets.create_secret, Name="prod/openai", SecretString=json.dumps({"key": OLD})
        )
        keys = '[[providers.a.keys]]\naws = "prod/openai"\naws_field = "key"\naws_region = "eu-west-1"\n'
        at = f"http://{host}:{port}"
        with gateway(
            tmp_path, one, keys, AWS_ENDPOINT_URL=at, AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any"
        ) as running:
            assert (await ask(running.port, body())).status == 200
            rotated = json.dumps({"key": NEW})
            await asyncio.to_thread(secrets.put_secret_value, SecretId="prod/openai", SecretString=rotated)
            await settled(lambda: "key.rotated" in running.log, 10.0)
            assert (await ask(running.port, body())).status == 200
            assert [each.key_fingerprint for each in one.calls] == [fingerprint(OLD), fingerprint(NEW)]
            assert "canary" not in running.log
    finally:
        await asyncio.to_thread(server.stop)


def test_a_gateway_whose_key_cannot_be_read_does_not_start_and_says_why(tmp_path, one: Provider):
    file = tmp_path / "key"
    file.write_text(f"{OLD}\n", encoding="utf-8")
    file.chmod(0o600)
    running = gateway(tmp_path, one, f'key_file = "{file}"\n')
    with pytest.raises(AssertionError, match="the gateway ended with 1"):
        running.__enter__()
    assert "printf %s" in running.log
    assert "canary" not in running.log


@pytest.mark.timeout(90)  # some twelve processes
async def test_the_commands_show_verify_rotate_and_quarantine(tmp_path, one: Provider):
    secret = mounted(tmp_path / "secret", 1, OLD)
    keys = f'[[providers.a.keys]]\nfile = "{secret}"\n[[providers.a.keys]]\nenv = "TWO"\n'
    running = gateway(tmp_path, one, keys, TWO=TWO)
    running.file.write_text(
        QUICK_KEYS.format(probe_s=300) + f'[providers.a]\nbase_url = "{one.base_url}"\n{keys}'
    )
    done = command(running, "list", "--json")
    assert [each["state"] for each in json.loads(done.stdout)] == ["not running", "not running"]
    with running:
        assert (await ask(running.port, body())).status == 200
        shown = command(running, "list").stdout
        assert all(word in shown for word in ("a#TWO", "a#key", "kf_", "active", "fingerprint"))
        done = command(running, "verify")
        assert (done.returncode, sorted(done.stdout.split("\n"))) == (0, ["", "a#TWO: ok", "a#key: ok"])

        plan(one, KeyPlan(key=NEW), KeyPlan(key=OLD, state="revoked"))
        done = command(running, "verify", "key")
        assert (done.returncode, done.stdout) == (1, "a#key: refused (invalid_api_key)\n")
        mounted(tmp_path / "secret", 2, NEW)
        done = command(running, "rotate", "a#key")
        assert done.returncode == 0
        assert "rotated to kf_" in done.stdout or "nothing new" in done.stdout  # it looks by itself, too
        assert command(running, "verify", "key").stdout == "a#key: ok\n"

        done = command(running, "quarantine", "TWO")
        assert (done.returncode, "quarantined: operator" in done.stdout) == (0, True)
        one.plan()
        for _ in range(4):
            assert (await ask(running.port, body())).status == 200
        assert {each.key_fingerprint for each in one.calls} == {fingerprint(NEW)}
        assert command(running, "quarantine", "TWO", "--release").stdout.endswith(": active\n")

        done = command(running, "rotate", "kye")
        assert (done.returncode, "did you mean 'key'?" in done.stderr) == (1, True)
        done = command(running, "verify", OLD)
        assert (done.returncode, "canary" in done.stderr + done.stdout) == (1, False)
        assert "canary" not in shown
