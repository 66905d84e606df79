"""A key in AWS Secrets Manager, its current version.  Needs the extra `stanchion[aws]`.

boto3 finds credentials and region as all of AWS's tools do (variables, profile, role of the machine).  It is
synchronous and takes half a second to import, so both happen in a thread.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import re
from typing import Any

import msgspec

from stanchion.core.errors import SettingsError
from stanchion.keys.source import Found, SourceFailed, sealed

_TIMEOUT_S = 5.0  # to connect, and for an answer; one more try
_CODE = re.compile(r"[A-Za-z]{1,60}")


class AwsSource:
    """One secret, or one field of it."""

    def __init__(self, secret_id: str, every_s: float, *, field: str = "", region: str = "") -> None:
        """Raises SettingsError if boto3 is not installed."""
        if importlib.util.find_spec("boto3") is None:
            raise SettingsError("a key in AWS Secrets Manager needs boto3: pip install 'stanchion[aws]'")
        self._id = secret_id
        self._field = field
        self._region = region
        self._client: Any = None
        self.name = f"the AWS secret {secret_id}"
        self.every_s = every_s

    def read_now(self) -> Found | None:
        """Return None: it is far away."""
        return None

    async def read(self) -> Found:
        """Ask for the secret's current version.  Raises SourceFailed.  Cancel: the question ends by its timeout."""
        try:
            return await asyncio.to_thread(self._ask)
        except SourceFailed as error:
            failure = error.with_traceback(None)  # the frames below hold what AWS answered
        raise failure

    def _ask(self) -> Found:
        code, answer = "", None
        try:
            if self._client is None:
                self._client = self._connect()
            answer = self._client.get_secret_value(SecretId=self._id, VersionStage="AWSCURRENT")
        except Exception as error:  # noqa: BLE001 - botocore makes its errors at run time; each becomes ours
            code = _code_of(error)
        if answer is None:  # outside of `except`: AWS's words stay out of the traceback
            raise SourceFailed(f"{self.name} cannot be read: {code}", code=code)
        return Found(sealed(self._value(answer), self.name))

    def _connect(self) -> Any:
        boto3: Any = importlib.import_module("boto3")
        config: Any = importlib.import_module("botocore.config")
        return boto3.Session().client(
            "secretsmanager",
            region_name=self._region or None,
            config=config.Config(
                connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": 2}
            ),
        )

    def _value(self, answer: Any) -> str:
        text = answer.get("SecretString")
        if not isinstance(text, str):
            raise SourceFailed(f"{self.name} holds bytes, not text", code="not_text")
        if not self._field:
            return text
        try:
            fields = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.MsgspecError:
            fields = {}
        value = fields.get(self._field)
        if not isinstance(value, str):
            raise SourceFailed(f"{self.name} has no field {self._field!r} with a text", code="no_field")
        return value


def _code_of(error: Exception) -> str:
    """Return AWS's code of an error, or the error's name; never its words."""
    said: Any = getattr(error, "response", None)
    code = said.get("Error", {}).get("Code") if isinstance(said, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return code if isinstance(code, str) and _CODE.fullmatch(code) else type(error).__name__
