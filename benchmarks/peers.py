"""Peers that are measured beside us on request.  Each lives in an environment of its own under .bench/.

`openai` is a development dependency and stands in ours.  The others are installed at their first use,
from the registries their own tools know, and never into our environment.
"""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from benchmarks.machine import PYTHON
from benchmarks.processes import ROOT, Failed

FOLDER = ROOT / ".bench"
NAMES = ("openai", "litellm", "portkey", "curator")
_APART = ("litellm", "curator")  # Python libraries
# pinned: newer Portkey dependencies break its streams
_PORTKEY = ("@portkey-ai/gateway@1.15.2", "@hono/node-server@1.13.8", "hono@4.6.10")


def install(peers: tuple[str, ...]) -> dict[str, str]:
    """Install those that are not there yet.  Returns which could not be, and why."""
    failed = dict[str, str]()
    for peer in peers:
        try:
            if peer == "litellm" and not python_of(peer).with_name("uvicorn").exists():  # its proxy's server
                _install_python(peer, "litellm[proxy]", "uvloop", "aiohttp")
            elif peer == "curator" and not python_of(peer).with_name("curator-viewer").exists():
                _install_python(peer, "bespokelabs-curator")
            elif peer == "portkey" and not portkey_script().exists():
                _install_portkey()
        except Failed as error:
            failed[peer] = str(error)
    return failed


def python_of(library: str) -> Path:
    """Return the interpreter that a library is measured with."""
    return FOLDER / library / "bin" / "python" if library in _APART else Path(PYTHON)


def portkey_script() -> Path:
    """Return what starts Portkey's gateway."""
    return FOLDER / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _install_python(peer: str, *packages: str) -> None:
    folder = FOLDER / peer
    venv.create(folder, with_pip=True, clear=True)
    pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check")
    _run(*pip, "--only-binary", ":all:", *packages)


def _install_portkey() -> None:
    quiet = ("--no-save", "--no-audit", "--no-fund")
    _run("npm", "install", *quiet, "--prefix", str(FOLDER / "portkey"), *_PORTKEY)


def _run(*words: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failed(f"{words[0]} is not there") from None
    if done.returncode:
        raise Failed(f"{' '.join(words)[:120]}: {done.stderr[-500:]}")
