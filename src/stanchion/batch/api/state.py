"""A batch of a caller: what is known of it, as it is kept and as the API shows it."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from stanchion.batch.api.check import Fault

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
ENDED = frozenset[str](["failed", "completed", "expired", "cancelled"])
_STATES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


class BatchState(msgspec.Struct, kw_only=True):
    """One batch."""

    id: str
    owner: str
    key: str  # the public part of the key it was made with; "" without one
    operation: str  # its path
    input_file_id: str
    metadata: dict[str, str] | None
    created_at: int  # seconds since 1970, as all times here
    expires_at: int
    made_at: float = 0.0  # the same as `created_at`, exactly: by it lists are in order
    status: Status = "validating"
    at: dict[str, int] = {}  # when it entered each state
    faults: list[Fault] = []
    total: int = 0
    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

    def enter(self, status: Status) -> None:
        """Change its state, and note when."""
        self.status = status
        self.at = {**self.at, status: int(time.time())}

    def shown(self) -> dict[str, object]:
        """Return it as OpenAI's API shows it."""
        tokens = self.prompt_tokens, self.completion_tokens
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": f"/v1/{self.operation}",
            "model": None,
            "errors": {"object": "list", "data": self.faults} if self.faults else None,
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            **{f"{state}_at": self.at.get(state) for state in _STATES},
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
            "usage": {
                "input_tokens": tokens[0],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": tokens[1],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": sum(tokens),
            },
            "metadata": self.metadata,
        }
