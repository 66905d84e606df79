"""The pages on batch jobs name every option and every command, and what they show works."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from stanchion.batch.formats.advice import _BY_CODE
from stanchion.batch.formats.records import ADDED
from stanchion.cli.batch import command as batch
from stanchion.cli.batch_run import run
from stanchion.rules.template import Template

ROOT = Path(__file__).parents[2]
OURS = (
    "invalid_json",
    "invalid_row",
    "invalid_csv",
    "invalid_id",
    "template_mismatch",
    "schema_mismatch",
    "price_unknown",
)


@pytest.mark.parametrize("page", ["docs/reference/batch.md", "docs/zh/reference/batch.md"])
def test_every_option_command_column_and_code_is_in_the_reference(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    options = [
        name
        for each in run.params
        if isinstance(each, click.Option)
        for name in each.opts
        if name.startswith("--") and name != "--verbose"
    ]
    unsaid = [name for name in options if f"`{name}`" not in text]
    assert unsaid == []
    assert [name for name in batch.list_commands(click.Context(batch)) if f"`{name} " not in text] == []
    assert [f"answer{end}" for end in ADDED if f"`answer{end}`" not in text] == []
    assert [code for code in OURS if code not in _BY_CODE or f"`{code}`" not in text] == []


@pytest.mark.parametrize("page", ["docs/howto/batch.md", "docs/zh/howto/batch.md"])
def test_the_templates_that_are_shown_work(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    shown = [part.partition("```")[0] for part in text.split("```jinja\n")[1:]]
    assert len(shown) == 2
    row = {"text": "It does not start.", "turns": [{"role": "user", "text": "Hi"}]}
    assert [each["role"] for each in Template(shown[0]).messages(row)] == ["user"]
    assert [each["role"] for each in Template(shown[1]).messages(row)] == ["system", "user"]
