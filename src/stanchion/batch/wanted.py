"""What a job is told by whoever begins it, as plain values: the command's options, kept beside the journal.

So a job can be looked at, retried, exported and moved to other machines by its output's name alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from stanchion.batch.job import Order
from stanchion.core.errors import SettingsError
from stanchion.stores.journal.journal import FOLDER_ENDING

InputKind = Literal["auto", "jsonl", "csv", "parquet"]
OutputKind = Literal["auto", "openai", "rows"]
LaneName = Literal["auto", "sync", "flex", "batch"]
_FILE = "job.json"
_VERSION = 1
STDIN = "-"
SPOOL = "input"  # standard input, copied beside the journal


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as it was asked for.  Paths are absolute."""

    version: int = _VERSION
    source: str
    output: str
    errors: str = ""  # "" is beside the output
    input_format: InputKind = "auto"
    template: str = ""
    system: str = ""
    params: str = ""  # JSON
    model: str = ""
    operation: str = "chat/completions"
    schema: str = ""
    schema_mode: Literal["auto", "send", "tell"] = "auto"
    repairs: int = 1
    id_field: str = ""
    limit: int = 0
    sample: int = 0
    shard: int = 0
    shards: int = 0
    format: OutputKind = "auto"
    answer_column: str = "answer"
    order: Order = "input"
    max_cost_micro_usd: int | None = None
    price_as: str = ""
    answer_tokens: int = 4096
    concurrency: int = 1000
    attempts: int = 5
    lane: LaneName = "auto"
    deadline_s: float = 0.0  # seconds from the beginning; 0: none
    retry_failed: bool = False
    engine: Literal["local", "ray"] = "local"
    workers: int = 2  # of Ray
    ray_address: str = ""  # "" is a Ray of its own on this machine

    @property
    def folder(self) -> Path:
        """Where its journal is."""
        return journal_folder(Path(self.output))

    @property
    def errors_path(self) -> Path:
        """Where the rows go that failed."""
        output = Path(self.output)
        return Path(self.errors) if self.errors else output.with_name(f"{output.stem}.errors.jsonl")


def as_kept(wanted: Wanted) -> Wanted:
    """Return a job as it is looked at later: its standard input is the copy beside the journal."""
    if wanted.source != STDIN:
        return wanted
    kind = "jsonl" if wanted.input_format == "auto" else wanted.input_format
    return msgspec.structs.replace(wanted, source=str(wanted.folder / SPOOL), input_format=kind)


def journal_folder(output: Path) -> Path:
    """Return where the journal of an output is: beside it."""
    return output.with_name(output.name + FOLDER_ENDING)


def keep(wanted: Wanted) -> None:
    """Write it beside the journal.  Raises OSError."""
    wanted.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(wanted.folder / _FILE, msgspec.json.format(msgspec.json.encode(wanted)) + b"\n")


def kept(output: Path) -> Wanted:
    """Return what the job of an output was told.  Raises SettingsError where there is none."""
    file = journal_folder(output) / _FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Wanted)
    except (FileNotFoundError, NotADirectoryError):
        raise SettingsError(f"there is no job that writes {output}: {file.parent} is not there") from None
    except msgspec.DecodeError as error:
        raise SettingsError(f"{file}: not written by this version of Stanchion: {error}") from None


def write_whole(path: Path, raw: bytes) -> None:
    """Write a small file so that whoever reads it finds the old one or the new one, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.write_bytes(raw)
    beside.replace(path)
