"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# No test is judged by the clock: a busy machine is not a failure.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
