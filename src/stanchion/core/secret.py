"""A secret is a value that does not print, compare, or pickle in the clear."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from typing import NoReturn, final

_PEPPER = os.urandom(16)  # of this process: a fingerprint cannot be looked up elsewhere
_WELL_FORMED = re.compile(r"[\x21-\x7e]{1,4096}")


@final
class Secret:
    """A key.  `reveal()` gives the value, for the one place that sends it."""

    __slots__ = ("_value", "fingerprint")

    def __init__(self, value: str, *, name: str = "key") -> None:
        """Take the value, stripped of white space around it.  Raises ValueError by name, never by value."""
        value = value.strip()
        if not _WELL_FORMED.fullmatch(value):
            raise ValueError(f"{name} is empty, too long, or holds a control character or a space")
        self._value = value
        self.fingerprint = "kf_" + hmac.new(_PEPPER, value.encode(), hashlib.sha256).hexdigest()[:10]

    def reveal(self) -> str:
        """Return the value in the clear."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<Secret {self.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: pass the name of the variable or file that holds it")


@final
class Hidden(str):
    """A header value that sends as itself and prints as nothing: tracebacks with locals stay clean."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'<hidden>'"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Hidden value is not pickled")
