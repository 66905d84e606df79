"""Who may join those who wait: bounds in number, of each caller, and in bytes."""

from __future__ import annotations


class Crowd:
    """How many wait, in all and of each caller, and how many bytes of bodies they hold: all bounded."""

    def __init__(self) -> None:
        self.waiting = 0
        self.bytes = 0
        self.of: dict[str, int] = {}

    def refusal(self, caller: str, size: int, *, most: int, caller_most: int, bytes_most: int) -> str:
        """Say by a code why one more may not wait; "" if it may.  A caller's own bound is asked first."""
        if self.of.get(caller, 0) >= caller_most:
            return "caller_line_full"
        if self.waiting >= most:
            return "line_full"
        return "line_bytes_full" if self.bytes + size > bytes_most else ""

    def came(self, caller: str, size: int) -> None:
        """Count one in."""
        self.waiting += 1
        self.bytes += size
        self.of[caller] = self.of.get(caller, 0) + 1

    def went(self, caller: str, size: int) -> None:
        """Count one out."""
        self.waiting -= 1
        self.bytes -= size
        left = self.of[caller] - 1
        if left:
            self.of[caller] = left
        else:
            del self.of[caller]
