"""How the numbers of a job are written."""

from __future__ import annotations

from datetime import timedelta

from stanchion.batch.progress import Snapshot


def rows(snapshot: Snapshot) -> str:
    """Write how many rows there are."""
    return f"{snapshot.rows:,}" if snapshot.rows_exact else f"about {snapshot.rows:,}"


def duration(seconds: float) -> str:
    """Write a time as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def usd(micro_usd: int) -> str:
    """Write money to the last digit."""
    return f"${micro_usd // 1_000_000:,}.{micro_usd % 1_000_000:06}"
