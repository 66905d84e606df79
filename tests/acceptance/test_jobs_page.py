"""The page of running batches: what a browser is given, and what it makes of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.served import Served
from tests.acceptance.test_batches_served import client, ended, line, submit

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
STATIC = Path(__file__).resolve().parents[2] / "src" / "stanchion" / "ops" / "static"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path) as running:
        yield running


def dom(url: str, profile: Path) -> tuple[str, str]:
    """What a page has become after a few seconds of its own time, and what the browser complained of."""
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=4000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    complaints = [each for each in done.stderr.splitlines() if "CONSOLE" in each and "[DOM]" not in each]
    return done.stdout, "\n".join(complaints)


def test_the_page_may_load_nothing_from_elsewhere_and_is_in_both_languages(served: Served):
    for asked, language in (("?lang=zh", "zh"), ("?lang=en", "en"), ("", "en")):
        with served.get(f"/ops/jobs{asked}") as page:
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            text = page.read().decode()
        assert f'<html lang="{language}">' in text
        assert not re.search(r"https?://|style=|onclick", text)
    request = urllib.request.Request(f"{served.origin}/ops/jobs", headers={"accept-language": "zh-CN,zh"})
    with urllib.request.urlopen(request, timeout=10) as page:
        assert '<html lang="zh">' in page.read().decode()
    script = (STATIC / "jobs.js").read_text("utf-8")
    english, chinese = re.search(r"en: \{(.*?)\n  \},\n  zh: \{(.*?)\n  \},\n\}", script, re.S).groups()  # pyright: ignore[reportOptionalMemberAccess]
    names = re.compile(r"(\w+): (?:\"|\(|\{)")
    assert names.findall(english) == names.findall(chinese)


@pytest.mark.skipif(not BROWSER, reason="no Chromium on this machine")
def test_a_browser_shows_a_batch_and_complains_of_nothing(served: Served, tmp_path: Path):
    with client(served) as sdk:
        batch = ended(sdk, submit(sdk, [line(n) for n in range(7)]))
    page, complaints = dom(f"{served.origin}/ops/jobs?lang=zh", tmp_path / "profile")
    assert complaints == ""
    assert batch.id in page
    assert "已完成" in page
    assert "7 / 7" in page
