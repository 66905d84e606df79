"""The page of all settings against the settings themselves."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from stanchion.engine.settings import SECTIONS

ROOT = Path(__file__).resolve().parents[3]


def default_of(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


@pytest.mark.parametrize("page", ["docs/reference/settings.md", "docs/zh/reference/settings.md"])
def test_the_page_tells_the_true_default_and_variable_of_every_setting(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = dict[str, tuple[object, str]]()
    for key, default, variable in re.findall(r"^\| `(\w+\.\w+)` \| `(.*?)` \| `(\w+)` \|", text, re.M):
        rows[key] = (tomllib.loads(f"value = {default}")["value"], variable)
    assert rows == {
        f"{section}.{field.name}": (default_of(field), f"STANCHION_{section}_{field.name}".upper())
        for section, kind in SECTIONS.items()
        for field in msgspec.structs.fields(kind)
    }
