"""Makes src/stanchion/data/prices.json anew from two packages of the index, which are read and never run.

    python scripts/prices.py                  download both with pip, then write the file
    python scripts/prices.py --wheels FOLDER  use the wheels in a folder

`genai-prices` is a Python file of constructors: its syntax tree is read.  LiteLLM bundles a JSON map.  Neither is
installed or imported (LiteLLM's wheel was compromised once, and its import reaches the network), and nothing of
them is needed when Stanchion runs.  Where both know a model, genai-prices is taken, since it tells dates and tiers;
LiteLLM adds models, and the variants and tiers that are missing.  How often both disagree is told at the end.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from price_sources import PROVIDERS, Row, genai_rows, litellm_rows

OUT = Path(__file__).resolve().parents[1] / "src" / "stanchion" / "data" / "prices.json"
UNIT = "micro-units of the currency per 1,000,000 tokens"


def merged(genai: Mapping[str, Row], litellm: Mapping[str, Row]) -> tuple[dict[str, Row], int, int]:
    """Return the rows by model, how many both know, and how many of those differ in input or output."""
    rows: dict[str, Row] = {name: {**row, "source": "litellm"} for name, row in litellm.items()}
    both = differ = 0
    for name, row in genai.items():
        other = rows.get(name)
        kept = {**row, "source": "genai-prices"}
        if other is not None:
            both += 1
            same = (row["input"], row["output"]) == (other["input"], other["output"])
            differ += not same
            if same:  # where they disagree about the price, the rest of the other is not believed either
                if "above" not in row and "above" in other:
                    kept["above"] = other["above"]
                kept["variants"] = {**other.get("variants", {}), **row.get("variants", {})}
                if not kept["variants"]:
                    del kept["variants"]
        rows[name] = kept
    return rows, both, differ


def read(wheel: Path, name: str) -> str:
    """Return a text file of a wheel."""
    with zipfile.ZipFile(wheel) as held:
        return held.read(name).decode()


def about(name: str, wheel: Path, today: datetime.date) -> Row:
    """Return what the list says of a source."""
    return {
        "name": name,
        "version": wheel.name.split("-")[1],
        "license": "MIT",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "read_on": today.isoformat(),
    }


def main() -> int:
    """Write the file; say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="a folder with both wheels")
    parser.add_argument(
        "--date", type=datetime.date.fromisoformat, default=datetime.datetime.now(datetime.UTC).date()
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = given.wheels or Path(made)
        if given.wheels is None:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--only-binary",
                ":all:",
                "-d",
                made,
            ]
            subprocess.run([*command, "genai-prices", "litellm"], check=True)  # noqa: S603 - our own words
        wheels = {name: next(folder.glob(f"{name}-*.whl")) for name in ("genai_prices", "litellm")}
        genai = read(wheels["genai_prices"], "genai_prices/data.py")
        litellm = read(wheels["litellm"], "litellm/model_prices_and_context_window_backup.json")
        sources = [
            about("genai-prices", wheels["genai_prices"], given.date),
            about("litellm", wheels["litellm"], given.date),
        ]
    OUT.write_text(written(genai, litellm, sources, given.date), encoding="utf-8")
    return 0


def written(genai: str, litellm: str, sources: list[Row], today: datetime.date) -> str:
    """Return the file's text: one line a model, so that a difference can be read."""
    by_provider: dict[str, tuple[dict[str, Row], dict[str, Row]]] = {name: ({}, {}) for name in PROVIDERS}
    for provider, model, row in genai_rows(genai, today):
        by_provider[provider][0][model] = row
    for provider, model, row in litellm_rows(litellm):
        by_provider[provider][1][model] = row
    parts = list[str]()
    for name, known in PROVIDERS.items():
        rows, both, differ = merged(*by_provider[name])
        sys.stderr.write(f"{name}: {len(rows)} models; both know {both}, {differ} with another price\n")
        pages = Counter(
            row["page"] for row in rows.values() if row["source"] == "genai-prices" or not known.genai
        )
        page = pages.most_common(1)[0][0]
        for row in rows.values():
            if row["page"] == page:
                del row["page"]  # it stands at the provider
        lines = [f"   {json.dumps(model)}: {json.dumps(rows[model])}" for model in sorted(rows)]
        head = {"hosts": known.hosts, "page": page}
        parts.append(
            f'  {json.dumps(name)}: {json.dumps(head)[:-1]}, "models": {{\n' + ",\n".join(lines) + "}}"
        )
    head = json.dumps({"unit": UNIT, "made_on": today.isoformat(), "sources": sources}, indent=1)
    return head.removesuffix("\n}") + ',\n "providers": {\n' + ",\n".join(parts) + "\n}}\n"


if __name__ == "__main__":
    sys.exit(main())
