"""`stanchion config`, and the example file it writes."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from stanchion.cli.main import main
from stanchion.engine.config import load
from stanchion.engine.settings import SECTIONS, Settings

ROOT = Path(__file__).resolve().parents[3]
KEY = "sk-canary-1d0a44c2f9"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which nothing is configured."""
    for name in [*os.environ]:
        if name.startswith(("STANCHION_", "OPENAI_")) or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[object, str]]:
    assert main(["config", "show", "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    return {each["key"]: (each["value"], each["origin"]) for each in found}


def test_show_tells_where_each_value_came_from(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (bare / "stanchion.toml").write_text(
        "[retry]\nattempts = 4\nbase_s = 0.25\n"
        '[providers.house]\nbase_url = "http://127.0.0.1:9/v1"\nauth = "none"\n'
        '[routes.quick]\nbalance = ["house/m"]\n[routes.quick.retry]\nattempts = 1\n'
    )
    monkeypatch.setenv("STANCHION_RETRY_MOST_S", "9")
    found = shown(capsys, "--set", "retry.attempts=7")
    assert found["retry.attempts"] == (7, "the command line")
    assert found["retry.most_s"] == (9.0, "STANCHION_RETRY_MOST_S")
    assert found["retry.base_s"] == (0.25, "stanchion.toml")
    assert found["retry.budget_floor"] == (10, "default")
    assert found["providers.house.done"] == (True, "preset compatible")
    assert found["routes.quick.retry.attempts"] == (1, "stanchion.toml")
    assert found["routes.quick.retry.most_s"] == (9.0, "STANCHION_RETRY_MOST_S")


def test_changed_leaves_the_defaults_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STANCHION_RETRY_ATTEMPTS", "5")
    assert list(shown(capsys, "--changed")) == ["retry.attempts"]


def test_no_secret_is_ever_shown(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (bare / "stanchion.toml").write_text(
        f'[http]\nproxy = "http://me:{KEY}@127.0.0.1:3128"\n'
        f'[providers.openai]\npreset = "openai"\nheaders = {{ "X-Token" = "{KEY}" }}\n'
        f'[[providers.openai.keys]]\nexec = ["/bin/vault-key", "--token={KEY}"]\n'
        f'[stores]\nkeys = "redis://:{KEY}@10.0.0.5:6379/0"\n'
    )
    for form in ([], ["--json"], ["--changed"]):
        assert main(["config", "show", *form]) == 0
    assert main(["config", "check"]) == 0
    said = "".join(capsys.readouterr())
    assert KEY not in said
    assert "/bin/vault-key" in said
    assert "X-Token" in said


def test_check_says_what_would_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "check"]) == 0
    assert "the built-in simulator would answer" in capsys.readouterr().out
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert main(["config", "check"]) == 0
    assert "providers: openai" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[retry]\natempts = 3\n", "unknown key retry.atempts in stanchion.toml; did you mean 'attempts'?"),
        ("[retri]\nattempts = 3\n", "did you mean 'retry'?"),
        ('[providers.openai]\npreset = "openai"\n', "providers.openai needs a key: set OPENAI_API_KEY"),
        (
            '[http]\nca_file = "nowhere.pem"\n',
            "http.ca_file: nowhere.pem cannot be read: No such file or directory",
        ),
        ("[retry\n", "stanchion.toml is not valid TOML"),
    ],
)
def test_check_says_what_is_wrong_in_one_line(
    bare: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (bare / "stanchion.toml").write_text(text)
    assert main(["config", "check"]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_init_writes_a_file_that_is_right_and_changes_nothing(bare: Path) -> None:
    assert main(["config", "init"]) == 0
    loaded = load(bare / "stanchion.toml", environ={})
    assert loaded.settings == Settings()
    assert loaded.simulated


def test_init_never_touches_a_file_that_is_there(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bare / "stanchion.toml").write_text("mine")
    assert main(["config", "init"]) == 1
    assert "exists and is left as it is" in capsys.readouterr().err
    assert (bare / "stanchion.toml").read_text() == "mine"


def uncommented() -> str:
    text = (ROOT / "examples" / "stanchion.toml").read_text(encoding="utf-8")
    return "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if re.match(r"# (\[|\w+ = )", line)
    )


def test_every_line_of_the_example_is_right_once_uncommented(tmp_path: Path) -> None:
    file = tmp_path / "all.toml"
    file.write_text(uncommented())
    loaded = load(file, environ={"OPENAI_API_KEY": KEY, "KEY_A": KEY, "KEY_B": KEY})
    assert set(loaded.settings.providers) == {"openai", "deepseek", "house"}
    for section in SECTIONS:
        assert getattr(loaded.settings, section) == SECTIONS[section](), f"[{section}] must show the defaults"


def test_the_example_shows_every_setting_of_a_section() -> None:
    tree = tomllib.loads(uncommented())
    for section, kind in SECTIONS.items():
        assert set(tree[section]) == {each.name for each in msgspec.structs.fields(kind)}


def test_the_example_is_the_file_that_init_writes(bare: Path) -> None:
    assert main(["config", "init"]) == 0
    written = (bare / "stanchion.toml").read_bytes()
    assert written == (ROOT / "examples" / "stanchion.toml").read_bytes()
