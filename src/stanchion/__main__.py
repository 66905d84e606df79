"""`python -m stanchion`."""

from __future__ import annotations

import sys

from stanchion.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
