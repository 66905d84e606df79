"""A key in an environment variable, as it was when the process began."""

from __future__ import annotations

import math
from collections.abc import Mapping

from stanchion.keys.source import Found, SourceFailed, sealed


class EnvironmentSource:
    """One variable."""

    every_s = math.inf

    def __init__(self, variable: str, environ: Mapping[str, str]) -> None:
        self.name = variable
        self._environ = environ

    def read_now(self) -> Found | None:
        """Read it.  Raises SourceFailed if it is not set, or is no key."""
        if not self._environ.get(self.name):
            raise SourceFailed(f"the environment variable {self.name} is not set", code="missing")
        return Found(sealed(self._environ[self.name], self.name))

    async def read(self) -> Found:
        """Read it, as `read_now`."""
        found = self.read_now()
        assert found is not None  # noqa: S101 - it raises instead
        return found
