"""What the pages say exists does, and what exists is said: links, navigation, settings shown, events, error codes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from stanchion.engine.config import load

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SOURCES = ROOT / "src" / "stanchion"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
_TOML = re.compile(r"^```toml\n(.*?)^```$", re.M | re.S)
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_EVENT = re.compile(r'(?:log_event\(\s*log,[^"]*|log\.(?:error|exception)\(\s*)"([a-z_]+\.[a-z_]+)"')
_CODE = re.compile(r'\bcode="([a-z_]+)"')
# rooms whose errors a gateway's caller can meet
_CALLED = ("core", "engine", "gateway", "policies", "providers", "wire")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """Return the anchors a page names itself: `## Heading { #anchor }`, and those made of its headings."""
    made = {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*?)(?: \{.*\})?$", text, re.M)
    }
    return made | set(re.findall(r"\{ #([\w-]+) \}", text))


@pytest.mark.parametrize(
    "page", ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", *(f"docs/{page}" for page in PAGES)]
)
def test_every_link_leads_somewhere(page: str) -> None:
    broken = list[str]()
    for link in _LINK.findall(_FENCED.sub("", read(page))):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


def test_every_page_stands_in_the_navigation() -> None:
    nav = tomllib.loads(read("zensical.toml"))["project"]["nav"]

    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        inner = entry.values() if isinstance(entry, dict) else entry
        return [page for each in inner for page in pages(each)]

    assert sorted(pages(nav)) == PAGES


def test_every_page_but_the_decisions_is_in_both_languages() -> None:
    english = {page for page in PAGES if not page.startswith(("zh/", "decisions/"))}
    assert {page.removeprefix("zh/") for page in PAGES if page.startswith("zh/")} == english


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("howto/", "zh/howto/"))])
def test_every_configuration_that_is_shown_is_taken(page: str, tmp_path: Path) -> None:
    for text in _TOML.findall(read(f"docs/{page}")):
        file = tmp_path / "stanchion.toml"
        file.write_text(text, encoding="utf-8")
        named = re.findall(r"\b[A-Z_0-9]+_KEY(?:_\d)?\b", text + read("src/stanchion/providers/presets.py"))
        loaded = load(file, environ=dict.fromkeys(named, "any"))
        assert loaded.settings.providers or "[providers" not in text


@pytest.mark.parametrize("page", ["docs/reference/logs.md", "docs/zh/reference/logs.md"])
def test_every_log_event_is_documented(page: str) -> None:
    events = {event for path in SOURCES.rglob("*.py") for event in _EVENT.findall(path.read_text("utf-8"))}
    assert len(events) > 20, "this test no longer finds the events"
    assert sorted(event for event in events if f"`{event}`" not in read(page)) == []


@pytest.mark.parametrize("page", ["docs/reference/gateway.md", "docs/zh/reference/gateway.md"])
def test_every_error_code_of_ours_is_documented(page: str) -> None:
    codes = {
        code
        for room in _CALLED
        for path in (SOURCES / room).rglob("*.py")
        for code in _CODE.findall(path.read_text("utf-8"))
    }
    assert len(codes) > 20, "this test no longer finds the codes"
    assert sorted(code for code in codes if f"`{code}`" not in read(page)) == []
