"""The version, in one place.  The build reads it from here; nothing else repeats it."""

from __future__ import annotations

__version__ = "0.1.0"
