"""A process that joins a Ray cluster, says how that went, and ends: `python -m stanchion.batch.ray_probe ADDRESS`.

Ray waits for a cluster for many minutes, where nothing interrupts it.  A process can be ended at any time.
"""

from __future__ import annotations

import importlib
import signal
import sys

MARK = "stanchion: "  # before the one line that is for the command; all others are Ray's
JOINED = "joined"
_LIFE_S = 60  # more than the command waits: for the case that it was killed meanwhile


def main(address: str) -> None:
    """Join, and say `joined` or what Ray says."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(_LIFE_S)  # nobody handles it, so that it ends the process
    ray = importlib.import_module("ray")
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
    else:
        said = JOINED
    sys.stdout.write(f"{MARK}{said}\n")
    sys.stdout.flush()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
