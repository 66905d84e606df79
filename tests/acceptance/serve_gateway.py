"""Serve a configuration file until a signal comes: what `stanchion serve` does, without the command line."""

from __future__ import annotations

import sys

import uvloop

from stanchion.engine.config import Loaded, load
from stanchion.gateway.server import serve
from stanchion.observe.logs import set_up


def read() -> Loaded:
    return load(sys.argv[1])


if __name__ == "__main__":
    loaded = read()
    handler = set_up(loaded.settings.log.level, json=True)
    try:
        uvloop.run(serve(loaded, read, lambda address: None))
    finally:
        handler.close()
