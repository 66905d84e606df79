"""A secret is a value that does not print, compare, or pickle in the clear."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from typing import NoReturn, final

_PEPPER = os.urandom(16)  # of this process: a hash cannot be looked up elsewhere
_MOST = 4096
_WELL_FORMED = re.compile(r"[\x21-\x7e]{1,4096}")
_HOW = 'write it without one: printf %s "$KEY" > FILE, never echo'


@final
class Secret:
    """A key.  `reveal()` gives the value, for the one place that sends it."""

    __slots__ = ("_value",)

    def __init__(self, value: str, *, name: str = "key") -> None:
        """Take the value as it is: nothing is stripped.  Raises ValueError by name, never by value."""
        if not _WELL_FORMED.fullmatch(value):
            raise ValueError(f"{name} {_fault(value)}")
        self._value = value

    def reveal(self) -> str:
        """Return the value in the clear."""
        return self._value

    def fingerprint(self, pepper: bytes) -> str:
        """Return what tells keys apart without telling them; it means something to who has the same pepper."""
        return "kf_" + hmac.new(pepper, self._value.encode(), hashlib.sha256).hexdigest()[:10]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self.fingerprint(_PEPPER))

    def __repr__(self) -> str:
        return "<Secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: pass the name of the variable or file that holds it")


def _fault(value: str) -> str:
    """Say what is wrong with a value that cannot be sent in a header, and what to write; never the value."""
    if not value:
        return "is empty"
    if value[-1] in "\r\n" and _WELL_FORMED.fullmatch(value.rstrip("\r\n")):
        return f"ends in a line break; {_HOW}"
    if any(ord(each) < 32 or ord(each) == 127 for each in value):
        return f"holds a line break or another control character; {_HOW}"
    if " " in value:
        return "holds a space; a key has none, nor quotation marks around it"
    if len(value) > _MOST:
        return f"is longer than {_MOST} characters"
    return "holds a character that is not ASCII; copy the key again"


@final
class Hidden(str):
    """A header value that sends as itself and prints as nothing: tracebacks with locals stay clean."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'<hidden>'"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Hidden value is not pickled")
