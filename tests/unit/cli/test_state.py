"""Where a process that serves keeps its files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stanchion.cli.main import main
from stanchion.cli.state import state_directory, with_state
from stanchion.engine.config import load


def test_the_directory_is_the_one_that_is_set_or_the_users(tmp_path: Path) -> None:
    def of(**environ: str) -> str:
        return str(state_directory(load(tmp_path / "s.toml", environ=environ)))

    (tmp_path / "s.toml").write_text("")
    assert of(XDG_STATE_HOME="/x", HOME="/h") == "/x/stanchion"
    assert of(XDG_STATE_HOME="relative", HOME="/h") == "/h/.local/state/stanchion"
    assert of(STANCHION_STORES_DIRECTORY="/d", XDG_STATE_HOME="/x") == "/d"


@pytest.mark.skipif(os.name != "posix", reason="where modes are")
def test_the_key_book_is_a_file_that_only_its_user_sees(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("")
    loaded = with_state(load(tmp_path / "s.toml", environ={"XDG_STATE_HOME": str(tmp_path / "a b")}))
    folder = tmp_path / "a b" / "stanchion"
    assert loaded.settings.stores.keys == f"sqlite://{str(folder).replace(' ', '%20')}/keys.db"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_store_that_is_named_is_left_as_it_is(tmp_path: Path) -> None:
    loaded = load(None, environ={"STANCHION_STORES_KEYS": "redis://a:6379/0"})
    assert with_state(loaded).settings.stores.keys == "redis://a:6379/0"


def test_a_directory_that_cannot_be_made_is_told_and_keys_are_kept_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    loaded = load(None, environ={"STANCHION_STORES_DIRECTORY": str(tmp_path / "file" / "d")})
    assert with_state(loaded).settings.stores.keys == "memory"
    assert [record.message for record in caplog.records] == ["state.not_kept"]


def test_the_commands_need_a_store_that_others_see(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["keys", "list", "--set", "stores.keys=memory"]) == 1
    assert "stores.keys is memory, which no other process sees" in capsys.readouterr().err


def test_a_key_that_nobody_reports_is_shown_as_not_running(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("ONE", "sk-canary-0123456789")
    (tmp_path / "stanchion.toml").write_text("[providers.a]\nbase_url = 'http://a/v1'\nkey_env = 'ONE'\n")
    assert main(["keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert "a#ONE  kf_" in shown
    assert "not running" in shown
    assert "canary" not in shown
    assert main(["keys", "quarantine", "ONE"]) == 0
    assert "no process reports it now" in capsys.readouterr().out
