"""Whether a Ray cluster can be joined: found out before the job joins it, in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys

from stanchion.batch.ray_probe import JOINED, MARK
from stanchion.core.errors import SettingsError, StanchionError

CLUSTER_WAIT_S = 30.0  # seconds that a cluster may take to let a command join
_CONNECT_S = 5.0  # seconds that its machine may take to accept a connection
_ADDRESS = re.compile(r"(?P<host>[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_REFUSED = (
    "InvalidAuthToken",  # what Ray writes, second after second, where the token is not the cluster's
    "no authentication token was found",  # its error where there is none
)
_ADVICE = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the cluster's token, "
    "which `ray get-auth-token` prints where `ray start --head` was called"
)


def check_address(address: str) -> None:
    """Refuse what is no address of a cluster.  Raises SettingsError."""
    if address != "auto" and not _ADDRESS.fullmatch(address):
        raise SettingsError(
            f"--ray-address {address}: write auto, or HOST:PORT as `ray start --head` printed it, without ray://"
        )


async def await_cluster(address: str) -> None:
    """Return when the cluster has let a process join.  Raises StanchionError; its caller bounds it."""
    await _knock(address)
    child = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "stanchion.batch.ray_probe", address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the command alone, which ends this one
    )
    try:
        said = await _said(child)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if said != JOINED:
        raise StanchionError(f"the Ray cluster at {address} cannot be joined: {said}")


def unreachable(address: str) -> StanchionError:
    """Return the error for a cluster that took too long."""
    return StanchionError(
        f"the Ray cluster at {address} did not answer within {CLUSTER_WAIT_S:g} s: see whether it runs "
        f"(`ray status --address {address}`), and call this command on one of its machines"
    )


async def _knock(address: str) -> None:
    """See that somebody listens there, as Ray would try again for minutes.  Raises StanchionError."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return  # auto: only Ray knows where it is
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(found["host"].strip("[]"), int(found["port"]))
    except (OSError, OverflowError) as error:  # TimeoutError is an OSError
        raise StanchionError(
            f"no Ray cluster answers at {address}: start one with `ray start --head`, or give the address that it printed"
        ) from error
    writer.close()


async def _said(child: asyncio.subprocess.Process) -> str:
    """Return what came of it, as soon as it is known."""
    last = ""
    while child.stdout is not None and (raw := await child.stdout.readline()):
        line = raw.decode(errors="replace").strip()
        if any(each in line for each in _REFUSED):
            return f"it wants a token, and got none or another: {_ADVICE}"
        if line.startswith(MARK):
            return line.removeprefix(MARK)
        last = line or last
    return f"Ray ended with code {await child.wait()}: {last}"
