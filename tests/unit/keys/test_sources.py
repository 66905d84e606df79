"""Where keys come from: variables and files; refused by name, never by value."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from stanchion.core.errors import SettingsError
from stanchion.keys.environment import EnvironmentSource
from stanchion.keys.file import FileSource
from stanchion.keys.options import KeySettings, KeysOptions
from stanchion.keys.places import check_key, places_of
from stanchion.keys.source import Found, KeySource, SourceFailed

KEY = "sk-canary-0123456789"
OPTIONS = KeysOptions()


def read(source: KeySource) -> str:
    found = source.read_now()
    assert isinstance(found, Found)
    assert "canary" not in repr(found)
    return found.secret.reveal()


def key_file(path: Path, content: bytes = KEY.encode(), mode: int = 0o600) -> FileSource:
    path.write_bytes(content)
    path.chmod(mode)
    return FileSource(path, 10.0)


def told(error: BaseException) -> str:
    """Return all that a traceback with locals tells, but of the test itself, which knows the key."""
    error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    return str(error) + "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )


def test_a_variable_is_read() -> None:
    assert read(EnvironmentSource("ONE", {"ONE": KEY})) == KEY
    with pytest.raises(SourceFailed, match="the environment variable ONE is not set"):
        EnvironmentSource("ONE", {"ONE": ""}).read_now()


def test_a_file_is_read_anew_when_it_is_written_over_or_replaced(tmp_path: Path) -> None:
    source = key_file(tmp_path / "key")
    assert read(source) == KEY
    key_file(tmp_path / "key", b"sk-2")
    assert read(source) == "sk-2"
    key_file(tmp_path / "new", b"sk-3")
    (tmp_path / "new").replace(tmp_path / "key")
    assert read(source) == "sk-3"


def test_a_mounted_secret_is_read_anew_when_its_link_is_swapped(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / f"..data{number}").mkdir()
        key_file(tmp_path / f"..data{number}" / "key", f"sk-{number}".encode())
    (tmp_path / "..data").symlink_to("..data1")
    (tmp_path / "key").symlink_to("..data/key")
    source = FileSource(tmp_path / "key", 10.0)
    assert read(source) == "sk-1"
    (tmp_path / "..data_tmp").symlink_to("..data2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert read(source) == "sk-2"


@pytest.mark.skipif(os.name != "posix", reason="where modes are")
@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o602])
def test_a_file_that_everybody_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SourceFailed, match="chmod 600 it, or 640 for a group") as raised:
        key_file(tmp_path / "key", mode=mode).read_now()
    assert raised.value.code == "open_to_all"


def test_a_file_that_only_a_group_may_read_is_taken(tmp_path: Path) -> None:
    assert read(key_file(tmp_path / "key", mode=0o640)) == KEY


@pytest.mark.skipif(os.name != "posix", reason="where pipes are files")
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, code in ((tmp_path / "pipe", "not_a_file"), (tmp_path / "gone", "missing"), (tmp_path, "")):
        with pytest.raises(SourceFailed) as raised:
            FileSource(path, 10.0).read_now()
        assert str(path) in str(raised.value)
        assert not code or raised.value.code == code


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f"{KEY}\n".encode(), "ends in a line break; write it without one: printf %s"),
        (f"{KEY}\r\n".encode(), "ends in a line break"),
        (f"{KEY}\x07".encode(), "control character"),
        (f"{KEY}\n{KEY}".encode(), "a line break or another control character"),
        (f"{KEY} ".encode(), "holds a space"),
        (f"\ufeff{KEY}".encode(), "not ASCII"),
        (b"", "is empty"),
        (KEY.encode() * 1000, "longer than 4096"),
    ],
)
def test_a_file_that_holds_no_key_is_refused_by_name_and_not_by_value(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(SourceFailed, match=why) as raised:
        key_file(tmp_path / "key", content).read_now()
    assert str(tmp_path / "key") in str(raised.value)
    assert raised.value.code == "malformed"
    assert "canary" not in told(raised.value)


def test_a_variable_that_holds_no_key_is_refused_by_name_and_not_by_value() -> None:
    class Hiding(dict[str, str]):
        def __repr__(self) -> str:
            return "<environment>"

    with pytest.raises(SourceFailed, match="the key in ONE ends in a line break") as raised:
        EnvironmentSource("ONE", Hiding(ONE=f"{KEY}\n")).read_now()
    assert "canary" not in told(raised.value)


def test_a_variable_with_file_at_its_end_names_a_file(tmp_path: Path) -> None:
    key_file(tmp_path / "key")
    environ = {"ONE_FILE": str(tmp_path / "key")}
    place = places_of("p", [KeySettings(env="ONE")], environ, OPTIONS)[0]
    assert (place.name, read(place.source)) == ("ONE", KEY)
    with pytest.raises(SettingsError, match="both ONE and ONE_FILE are set"):
        places_of("p", [KeySettings(env="ONE")], environ | {"ONE": KEY}, OPTIONS)


def test_keys_are_called_by_their_place_unless_they_have_a_name() -> None:
    keys = [
        KeySettings(env="ONE"),
        KeySettings(file="/run/secrets/open ai"),
        KeySettings(exec=("/usr/bin/vault-key", "kv/openai")),
        KeySettings(aws="arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/openai-AbCdEf"),
        KeySettings(aws="prod", name="mine"),
    ]
    names = [place.name for place in places_of("p", keys, {}, OPTIONS)]
    assert names == ["ONE", "open-ai", "vault-key", "openai-AbCdEf", "mine"]
    with pytest.raises(SettingsError, match="two keys are called 'ONE'; give each a `name`"):
        places_of("p", [KeySettings(env="ONE"), KeySettings(file="x/ONE")], {}, OPTIONS)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (KeySettings(), "exactly one of env, file, exec and aws"),
        (KeySettings(env="ONE", file="one"), "exactly one of env, file, exec and aws"),
        (KeySettings(env=KEY), "the name of an environment variable, never the key itself"),
        (KeySettings(file=KEY), "seems to hold a key"),
        (KeySettings(aws=KEY), "seems to hold a key"),
        (KeySettings(env="ONE", name=KEY), "seems to hold a key"),
        (KeySettings(env="ONE", name="a b"), "may hold letters"),
    ],
)
def test_settings_that_say_no_place_are_refused_and_a_key_in_them_is_not_repeated(
    key: KeySettings, why: str
) -> None:
    with pytest.raises(SettingsError, match=why) as raised:
        check_key("providers.a.keys[0]", key)
    assert "canary" not in str(raised.value)
