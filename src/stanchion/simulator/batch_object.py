"""A batch: what is known of it, and how the API shows it."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from stanchion.simulator.batch_check import Checked, Fault
from stanchion.simulator.batch_options import BatchFault
from stanchion.simulator.files import StoredFile

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
ENDED = frozenset(["failed", "completed", "expired", "cancelled"])


class Batch(msgspec.Struct, kw_only=True, dict=True):
    """A batch and all that is known of it; what is public of it is in `shown`."""

    id: str
    owner: str
    endpoint: str
    input_file: StoredFile
    metadata: dict[str, str] | None
    created_at: int
    expires_at: int
    fault: BatchFault | None = None
    status: Status = "validating"
    at: dict[str, int] = {}  # when it entered each state
    errors: list[Fault] = []
    checked: Checked = msgspec.field(default_factory=Checked)
    done: int = 0  # rows that are over
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None

    def shown(self) -> dict[str, object]:
        """The batch as the API shows it."""
        states = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.checked.model or None,
            "errors": {"object": "list", "data": [each.shown() for each in self.errors]}
            if self.errors
            else None,
            "input_file_id": self.input_file.id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            **{f"{state}_at": self.at.get(state) for state in states},
            "request_counts": {
                "total": len(self.checked.rows),
                "completed": self.completed,
                "failed": self.failed,
            },
            "usage": {
                "input_tokens": self.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": self.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.input_tokens + self.output_tokens,
            },
            "metadata": self.metadata,
        }

    def enter(self, status: Status) -> None:
        """Change its state, and note when."""
        self.status = status
        self.at = {**self.at, status: int(time.time())}
