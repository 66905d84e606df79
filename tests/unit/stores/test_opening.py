"""An address opens its backend; one that is wrong says what to write, and never shows a password."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stanchion.core.clock import Clock
from stanchion.core.errors import SettingsError
from stanchion.stores.memory import MemoryKeyBook, MemoryLimits
from stanchion.stores.opening import open_key_book, open_limits, shown
from stanchion.stores.sqlite.keys import SqliteKeyBook
from stanchion.stores.sqlite.limits import SqliteLimits
from stanchion.testing import virtual_time


@virtual_time
async def test_an_address_opens_its_backend(tmp_path: Path) -> None:
    assert isinstance(open_limits("memory", Clock()), MemoryLimits)
    assert isinstance(open_key_book("memory"), MemoryKeyBook)
    file = f"sqlite://{tmp_path}/a%20b.db"
    assert isinstance(open_limits(file, Clock()), SqliteLimits)
    book = open_key_book(file)
    assert isinstance(book, SqliteKeyBook)
    for scheme, kind in (
        ("redis", "Redis"),
        ("rediss", "Redis"),
        ("valkey", "Redis"),
        ("postgresql", "Postgres"),
    ):
        for opened in (open_limits(f"{scheme}://h/0", Clock()), open_key_book(f"{scheme}://h/0")):
            assert type(opened).__name__.startswith(kind)
            await opened.aclose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://user:secret@host/db", "begins with 'mysql'"),
        ("", "names no kind of store"),
        ("memory:", "begins with 'memory'"),
        ("sqlite://relative.db", "absolute path"),
        ("sqlite:///no/such/folder/x.db", "no folder"),
        ("redis://:se/cret@host:6379/0", "%2F"),
        ("redis://host:6379/0?socket_timeout=secret", "cannot be read"),
        ("postgresql://user:se/cret@host:5432/db", "%2F"),
    ],
)
def test_a_wrong_address_says_what_to_write_and_shows_no_password(url: str, said: str) -> None:
    for opens in (lambda: open_limits(url, Clock()), lambda: open_key_book(url)):
        with pytest.raises(SettingsError) as caught:
            opens()
        assert said in str(caught.value)
        assert "cret" not in f"{caught.value!r} {caught.value.__cause__!r}"


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from stanchion.core.clock import Clock
from stanchion.stores.opening import open_limits
open_limits(sys.argv[2], Clock())
"""


@pytest.mark.parametrize(
    ("driver", "url", "extra"), [("redis", "redis://h", "redis"), ("asyncpg", "postgresql://h/d", "postgres")]
)
def test_a_missing_driver_says_what_to_install(driver: str, url: str, extra: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, driver, url], capture_output=True, text=True, check=False
    )
    assert (
        f"SettingsError: the store needs a driver that is not installed: pip install 'stanchion[{extra}]'"
        in (done.stderr)
    )


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("memory", "memory"),
        ("redis://user:secret@host:6379/0?password=secret", "redis://host:6379/0"),
        ("postgresql://user:secret@host/db?sslmode=require", "postgresql://host/db"),
        ("redis://:se/cret@host:6379/0", "redis://…"),
        ("sqlite:///var/lib/x.db", "sqlite:///var/lib/x.db"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, seen: str) -> None:
    assert shown(url) == seen
