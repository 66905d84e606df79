"""What a client is made from, what it refuses, and that no key stands in what it raises."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from stanchion.client.async_client import AsyncClient
from stanchion.client.configured import configured
from stanchion.client.sync_client import Client
from stanchion.core.errors import SettingsError
from stanchion.core.secret import Secret
from stanchion.engine.config import load

KEY = "sk-canary-77aa01"
OTHER = "sk-canary-other"


def made(environ: dict[str, str], *, key: str | None = None, base_url: str | None = None, settings=None):
    return configured(
        load(environ=environ),
        key=Secret(key) if key else None,
        base_url=base_url,
        settings=settings,
    )


def test_a_key_alone_is_for_openai():
    loaded = made({}, key=KEY)
    (provider,) = loaded.settings.providers.values()
    assert (provider.preset, provider.models) == ("openai", ())
    assert loaded.environ[provider.key_env[0]] == KEY


def test_a_base_url_alone_takes_the_key_of_the_environment_as_the_sdk_does():
    loaded = made({"OPENAI_API_KEY": OTHER}, base_url="http://localhost:8000/v1")
    assert loaded.settings.providers["openai"].key_env == ("OPENAI_API_KEY",)
    assert made({}, base_url="http://localhost:8000/v1").settings.providers["openai"].key_env == ()


def test_a_key_goes_where_the_environment_says_openai_is():
    loaded = made({"OPENAI_BASE_URL": "http://localhost:8000/v1"}, key=KEY)
    assert loaded.settings.providers["openai"].base_url == "http://localhost:8000/v1"


def test_the_arguments_stand_in_place_of_every_configured_provider():
    loaded = made({"DEEPSEEK_API_KEY": OTHER}, key=KEY)
    assert list(loaded.settings.providers) == ["openai"]


def test_without_a_provider_the_error_says_what_to_do():
    with pytest.raises(SettingsError, match=r"OPENAI_API_KEY.*stanchion\.toml.*stanchion simulate.*base_url"):
        made({})


def test_a_key_that_is_missing_is_told_at_once(tmp_path: Path):
    file = tmp_path / "stanchion.toml"
    file.write_text('[providers.openai]\npreset = "openai"\n')
    with pytest.raises(SettingsError, match="needs a key: set OPENAI_API_KEY"):
        configured(load(file, environ={}), key=None, base_url=None, settings=None)


@pytest.mark.parametrize("kind", [AsyncClient, Client])
@pytest.mark.parametrize("fault", ["base_url", "settings", "key"])
def test_no_key_stands_in_an_error_or_its_frames(
    kind: type, fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(SettingsError) as caught:
        make_wrong(kind, fault)
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [f"{each.name}: {each.locals}" for each in told.stack if "test_configured" not in each.filename]
    assert ours
    assert [line for line in ours if KEY in line] == []
    assert KEY not in str(caught.value)


def make_wrong(kind: type, fault: str) -> None:
    if fault == "base_url":
        kind(api_key=KEY, base_url="nowhere")
    elif fault == "settings":
        kind(api_key=KEY, settings={"retry.atempts": 3})
    else:
        kind(api_key=f"{KEY}\nand a line")


def test_settings_cannot_be_laid_over_what_is_loaded_already():
    with pytest.raises(SettingsError, match="flags"):
        made({}, key=KEY, settings={"retry.attempts": 1})
