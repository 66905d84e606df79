"""Record `batch.svg`: run a real job over real dialogues, and render its panel as it stood on the way.

    .venv/bin/python docs/images/record_batch.py

The provider is the simulator, with three keys and a quota for each.  The panel is drawn of a snapshot that the job
itself wrote (`--progress json`), and the lines after it are what the command said.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tempfile
from pathlib import Path

import msgspec
from record import ROOT, SVG, THEME, Terminal

from stanchion.batch.progress import Snapshot
from stanchion.cli.batch_panel import panel

SETTINGS = """\
[providers.openai]
preset = "openai"
base_url = "http://127.0.0.1:8090/v1"
key_env = ["KEY_A", "KEY_B", "KEY_C"]
"""
TEMPLATE = """\
{% message system %}You sort conversations by what they are about.{% endmessage %}
{% message user %}{% for turn in turns %}{{ turn.role }}: {{ turn.text }}
{% endfor %}{% endmessage %}
"""
TOPICS = ["apartment", "therapist", "weather", "account", "restaurant", "song", "alarm", "movie", "hotel"]
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"enum": TOPICS}},
    "required": ["topic"],
    "additionalProperties": False,
}
RUN = "stanchion batch run dialogues.jsonl -t ask.j2 -m gpt-4o-mini --schema topic.json -o answers.csv --max-cost 2"


def scene(terminal: Terminal, folder: Path) -> None:
    """Play what is to be seen."""
    rows = gzip.decompress((ROOT / "tests" / "data" / "dialogues_en.jsonl.gz").read_bytes())
    (folder / "dialogues.jsonl").write_bytes(rows)
    (folder / "ask.j2").write_text(TEMPLATE, encoding="utf-8")
    (folder / "topic.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    # the simulator costs nothing, so its address is not looked up: the price is written down
    prices = '[prices."openai/gpt-4o-mini"]\ninput = 0.15\noutput = 0.6\n'
    (folder / "stanchion.toml").write_text(terminal.real(SETTINGS) + prices, encoding="utf-8")
    environ = {**terminal.environ, "KEY_A": "sk-a", "KEY_B": "sk-b", "KEY_C": "sk-c"}
    simulator = terminal.start(
        "",
        ["stanchion", "simulate", "--port", "8090", "--rpm", "120", "--tpm", "90000", "--ttft", "0.3"],
        "http",
        folder,
    )
    terminal.show(RUN)
    done = subprocess.run(  # noqa: S603 - our own command
        [*terminal.real(RUN).split(), "--progress", "json"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    told = [line for line in done.stderr.splitlines() if line.startswith('{"stage"')]
    snapshots = [msgspec.json.decode(line, type=Snapshot) for line in told]
    shown = min((each for each in snapshots if each.eta_s), key=lambda each: abs(each.share - 0.86))
    terminal.console.print(panel(shown, "dialogues.jsonl -> answers.csv"), width=terminal.console.width)
    terminal.console.print()
    terminal.run("stanchion batch status answers.csv")
    simulator.end()


def main() -> None:
    """Record."""
    with tempfile.TemporaryDirectory() as name:
        terminal = Terminal(Path(name))
        scene(terminal, Path(name))
    svg = terminal.console.export_svg(
        title="stanchion batch", theme=THEME, code_format=SVG, unique_id="stanchion-batch"
    )
    svg = re.sub(r"[ \t]+\n", "\n", svg)
    (ROOT / "docs" / "images" / "batch.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
