"""A key that a program prints: started without a shell, bounded, and killed with all that it started."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stanchion.keys.program import ProgramOptions, ProgramSource
from stanchion.keys.source import SourceFailed
from tests.acceptance.stage import settled

KEY = "sk-canary-0123456789"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def program(code: str, *arguments: str, timeout_s: float = 10.0, **environ: str) -> ProgramSource:
    options = ProgramOptions(every_s=300.0, timeout_s=timeout_s, sees=("VAULT_ADDR",))
    return ProgramSource((sys.executable, "-c", code, *arguments), environ, options)


def saying(**fields: object) -> str:
    return f"import json; print(json.dumps({fields!r}))"


async def failure(source: ProgramSource) -> SourceFailed:
    with pytest.raises(SourceFailed) as raised:
        await source.read()
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
    assert "canary" not in str(raised.value) + "".join(shown).replace(repr(source), "")
    return raised.value


async def test_its_answer_is_the_key() -> None:
    found = await program(saying(api_key=KEY)).read()
    assert (found.secret.reveal(), found.good_for_s) == (KEY, None)
    assert (await program(saying(api_key=KEY, expires_in=60)).read()).good_for_s == 60
    at = (datetime.now(UTC) + timedelta(seconds=600)).isoformat()
    found = await program(saying(api_key=KEY, expires_at=at, kind="more is no fault")).read()
    assert found.good_for_s is not None
    assert 500 < found.good_for_s <= 600


async def test_it_gets_its_arguments_as_they_are_and_sees_only_the_variables_it_is_given() -> None:
    code = "import json, os, sys; print(json.dumps({'api_key': '|'.join([sys.argv[1], *sorted(set(os.environ) - {'LC_CTYPE'})])}))"
    found = await program(
        code, "$(id);*", VAULT_ADDR="http://v", OPENAI_API_KEY=KEY, HOME="/h", PATH="/bin"
    ).read()
    assert found.secret.reveal() == "$(id);*|HOME|PATH|VAULT_ADDR"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (f"print('{KEY}')", "not_json"),
        (f"print('[\"{KEY}\"]')", "not_json"),
        (saying(key=KEY), "not_json"),
        (saying(api_key=f"{KEY}\n"), "malformed"),
        (saying(api_key=""), "malformed"),
        (saying(api_key=KEY, expires_in=-1), "expired"),
        (saying(api_key=KEY, expires_at="2001-01-01T00:00:00Z"), "expired"),
        (f"import sys; print('{KEY}', file=sys.stderr); sys.exit(3)", "exit_code"),
        (f"print('{KEY}' * 10000)", "too_long"),
    ],
)
async def test_an_answer_that_is_none_is_refused_by_name_and_not_by_value(
    tmp_path, code: str, why: str
) -> None:
    script = tmp_path / "vault-key"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o700)
    error = await failure(ProgramSource((str(script),), {}, ProgramOptions(every_s=300.0, timeout_s=10.0)))
    assert error.code == why
    assert "vault-key" in str(error)


async def test_a_program_that_is_not_there_is_told() -> None:
    source = ProgramSource(("/nowhere/vault-key",), {}, ProgramOptions(every_s=300.0, timeout_s=10.0))
    assert (await failure(source)).code == "not_started"


@pytest.mark.parametrize("page", ["docs/howto/keys.md", "docs/zh/howto/keys.md"])
async def test_the_script_for_vault_that_is_documented_works(tmp_path, page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    body = next(each for each in text.split("```") if each.startswith("sh\n#!/bin/sh")).removeprefix("sh\n")
    script, vault = tmp_path / "vault-key", tmp_path / "vault"
    script.write_text(body, encoding="utf-8")
    vault.write_text(f'#!/bin/sh\n[ "$*" = "kv get -field=api_key kv/openai" ] && printf %s {KEY}\n')
    for each in (script, vault):
        each.chmod(0o700)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    options = ProgramOptions(every_s=300.0, timeout_s=10.0)
    found = await ProgramSource((str(script), "kv/openai"), environ, options).read()
    assert (found.secret.reveal(), found.good_for_s) == (KEY, 600)
    error = await failure(ProgramSource((str(script), "kv/other"), environ, options))
    assert error.code == "exit_code"


BREEDS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(str(child.pid))
{then}
"""


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


def pid_in(note: Path) -> int:
    return int(note.read_text() or 0) if note.exists() else 0


@pytest.mark.parametrize("then", ["time.sleep(600)", ""])
async def test_one_that_hangs_is_killed_with_all_that_it_started(tmp_path, then: str) -> None:
    note = tmp_path / "pid"
    source = program(BREEDS.format(then=then), str(note), timeout_s=1.5)
    assert (await failure(source)).code == "timeout"
    await settled(lambda: not lives(pid_in(note)), 5.0)


async def test_one_that_is_given_up_is_killed(tmp_path) -> None:
    note = tmp_path / "pid"
    source = program(BREEDS.format(then="time.sleep(600)"), str(note))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(source.read())
        await settled(lambda: pid_in(note), 5.0)
        task.cancel()
    await settled(lambda: not lives(pid_in(note)), 5.0)
