"""Stanchion: the production runtime between an application and ChatGPT-style APIs.

Importing it reaches no network and reads no configuration.
"""

from __future__ import annotations

from stanchion._version import __version__

__all__ = ["__version__"]
