"""`stanchion keys`: the providers' keys as the processes that run see them, and orders to those."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from stanchion.cli.given import flags_of, settings_options
from stanchion.cli.key_table import rows_of, show
from stanchion.cli.state import with_state
from stanchion.cli.verbosity import verbose_option
from stanchion.core.errors import SettingsError
from stanchion.engine.catalog import Catalog
from stanchion.engine.config import Loaded, load
from stanchion.engine.engine import Engine
from stanchion.keys.exchange import BY_HAND
from stanchion.stores.opening import open_key_book
from stanchion.stores.protocols import KeyBook, KeyOrder, KeyReport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_RUNNING_S = 10.0  # a process reports every two seconds: an older report is of one that ended
_WAIT_S = 20.0  # for what becomes of an order
_OBEYED_S = 3.0  # after so long a process has read the order and the source, and says so
_LOOK_S = 0.5


@click.group("keys")
@verbose_option
def command() -> None:
    """Show the providers' keys, verify, rotate and quarantine them.  A key itself is never shown.

    \b
    Examples:
      stanchion keys list
          Each key: fingerprint, state, quota left, last error.
      stanchion keys verify
          Does each provider know its key? The exit code is 1 if one is refused.
      stanchion keys rotate OPENAI_API_KEY
          The file was changed: take it now.
      stanchion keys quarantine openai#OPENAI_API_KEY
          Use it for nothing until --release.

    Processes are found through the setting stores.keys; without it through a file in your state directory.
    """  # noqa: D301 - click reads \b


@command.command("list")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Write JSON: a list of keys.")
@verbose_option
def list_keys(config: Path | None, sets: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001 - click's
    """List each key: fingerprint, state and since when, calls in flight, quota left, last error.

    \b
    Examples:
      stanchion keys list
      stanchion keys list --json | jq '.[] | select(.state != "active")'
      stanchion keys list --set stores.keys=redis://10.0.0.5:6379/0
          The keys of all replicas that share that store.
    """  # noqa: D301 - click reads \b
    loaded = _loaded(config, sets)

    async def read() -> tuple[Sequence[KeyReport], dict[str, str]]:
        async with _book(loaded) as book:
            return await book.reports(younger_than_s=_RUNNING_S), await _held(loaded, book)

    rows = rows_of(*asyncio.run(read()))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    elif rows:
        show(rows, wide=len({row.replica for row in rows if row.replica}) > 1)
    else:
        click.echo("no provider here has a key")


@command.command("verify")
@click.argument("name", default="")
@settings_options
@verbose_option
def verify(name: str, config: Path | None, sets: tuple[str, ...]) -> int:
    """Read each key, or the one that is named, and ask its provider for the list of models.  That costs nothing.

    \b
    Examples:
      stanchion keys verify
      stanchion keys verify OPENAI_API_KEY && systemctl reload stanchion
    """  # noqa: D301 - click reads \b
    loaded = _loaded(config, sets)
    wanted = _named(loaded, name) if name else None
    stores = msgspec.structs.replace(loaded.settings.stores, keys="memory")
    alone = msgspec.structs.replace(loaded, settings=msgspec.structs.replace(loaded.settings, stores=stores))

    async def ask() -> bool:
        refused = False
        async with Engine(alone) as engine:
            for slot in engine.keys.slots.values():
                if slot.active is None or wanted not in (None, slot.name):
                    continue
                checked = await engine.check_key(slot.spec, slot.active.secret)
                refused = refused or checked.what == "refused"
                click.echo(f"{slot.name}: {checked.what}" + (f" ({checked.code})" if checked.code else ""))
        return refused

    return 1 if asyncio.run(ask()) else 0


@command.command("rotate")
@click.argument("name")
@settings_options
@verbose_option
def rotate(name: str, config: Path | None, sets: tuple[str, ...]) -> int:
    """Let every process read a key's source now, verify what it holds, and take it.  Says what came of it.

    Not needed where time is not short: files are looked at every ten seconds anyway.

    \b
    Examples:
      printf %s "$NEW" > /run/secrets/openai && stanchion keys rotate openai
      stanchion keys rotate openai#vault-key
    """  # noqa: D301 - click reads \b
    loaded = _loaded(config, sets)
    key = _named(loaded, name)
    began = time.time()

    async def order() -> int:
        async with _book(loaded) as book:
            before = {each.replica: each.fingerprint for each in await _reports(book, key)}
            there = await _held(loaded, book)
            await book.order(KeyOrder(key=key, what="rotate", reason=BY_HAND, at=began))
            if not before:
                return _nobody(key)

            def done(each: KeyReport) -> bool:
                if each.fingerprint != before.get(each.replica) or each.error_at > began:
                    return True
                return each.fingerprint == there.get(key) and each.at > began + _OBEYED_S

            after = await _until(book, key, lambda reports: all(map(done, reports)))
        failed = 0
        for each in after:
            if each.fingerprint != before.get(each.replica):
                said = f"rotated to {each.fingerprint}"
            elif each.error_at > began:
                said, failed = f"not rotated: {each.error}; {each.fingerprint} stays in use", 1
            else:
                said = f"nothing new: {each.fingerprint} stays in use"
            click.echo(f"{key} at {each.replica}: {said}")
        return failed

    return asyncio.run(order())


@command.command("quarantine")
@click.argument("name")
@click.option("--release", is_flag=True, help="Use it again, whyever it rests.")
@settings_options
@verbose_option
def quarantine(name: str, release: bool, config: Path | None, sets: tuple[str, ...]) -> int:  # noqa: FBT001 - click's
    """Let no process use a key until it is released, or gets a new value.  Calls in flight finish.

    \b
    Examples:
      stanchion keys quarantine OPENAI_API_KEY
      stanchion keys quarantine OPENAI_API_KEY --release
          Also one that the provider refused: it is paid again, and need not wait for its probe.
    """  # noqa: D301 - click reads \b
    loaded = _loaded(config, sets)
    key = _named(loaded, name)

    async def order() -> int:
        async with _book(loaded) as book:
            before = await _reports(book, key)
            marks = {each.fingerprint for each in before} or {""}
            for mark in marks:  # a new value is to begin without it
                what = "release" if release else "quarantine"
                await book.order(
                    KeyOrder(key=key, what=what, fingerprint=mark, reason=BY_HAND, at=time.time())
                )
            if not before:
                return _nobody(key)
            after = await _until(
                book,
                key,
                lambda reports: all(each.state.startswith("quarantined") is not release for each in reports),
            )
        for each in after:
            click.echo(f"{key} at {each.replica}: {each.state}")
        return 0 if all(each.state.startswith("quarantined") is not release for each in after) else 1

    return asyncio.run(order())


def _nobody(key: str) -> int:
    click.echo(f"{key}: no process reports it now; one that starts within a day obeys")
    return 0


async def _held(loaded: Loaded, book: KeyBook) -> dict[str, str]:
    """Return the fingerprint of what each key's source holds now; "" where that takes a program or a server."""
    pepper = await book.pepper()
    return {
        slot.name: found.secret.fingerprint(pepper) if found is not None else ""
        for slot, found in _catalog(loaded).keys
    }


async def _reports(book: KeyBook, key: str) -> list[KeyReport]:
    return [each for each in await book.reports(younger_than_s=_RUNNING_S) if each.key == key]


async def _until(book: KeyBook, key: str, done: Callable[[list[KeyReport]], bool]) -> list[KeyReport]:
    """Return the reports when they are as wanted, or as they are when it has taken long."""
    give_up_at = time.monotonic() + _WAIT_S
    while True:
        await asyncio.sleep(_LOOK_S)
        reports = await _reports(book, key)
        if (reports and done(reports)) or time.monotonic() > give_up_at:
            return reports


@asynccontextmanager
async def _book(loaded: Loaded) -> AsyncGenerator[KeyBook]:
    book = open_key_book(loaded.settings.stores.keys)
    try:
        yield book
    finally:
        await book.aclose()


def _loaded(config: Path | None, sets: tuple[str, ...]) -> Loaded:
    """Load the settings with a store that others can see.  Raises SettingsError."""
    loaded = with_state(load(config, flags=flags_of(sets)))
    if loaded.settings.stores.keys == "memory":
        raise SettingsError(
            "stores.keys is memory, which no other process sees: name a file, Redis or PostgreSQL, "
            "as sqlite:///var/lib/stanchion/keys.db"
        )
    return loaded


def _catalog(loaded: Loaded) -> Catalog:
    return Catalog(loaded.settings, loaded.environ, _never)


def _named(loaded: Loaded, name: str) -> str:
    """Return the full name of a key: `provider#name`, or `name` where only one provider has it."""
    known = [slot.name for slot, _ in _catalog(loaded).keys]
    found = [each for each in known if name in (each, each.partition("#")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(f"several keys are called {name!r}: {', '.join(found)}")
    if name.startswith("sk-"):
        raise SettingsError(
            "this is to be a key's name, never the key itself; `stanchion keys list` shows the names"
        )
    near = difflib.get_close_matches(name, [*known, *(each.partition("#")[2] for each in known)], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"
    raise SettingsError(f"there is no key {name!r}; {hint}")


def _never(_: object) -> NoReturn:
    raise AssertionError("a catalog makes endpoints when they are asked for")  # pragma: no cover
