"""Which tools a simulated model calls, and with which arguments."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from stanchion.simulator.schema import SchemaFiller
from stanchion.simulator.shapes import FunctionSpec, Json, JsonObject, LooseObject, Tool, ToolChoice

_WORD = re.compile(r"[^\W_]{2,}")


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call the reply asks the application to make."""

    id: str
    name: str
    arguments: str


def plan_calls(
    tools: Sequence[Tool] | None,
    choice: str | ToolChoice | None,
    asked: str,
    *,
    parallel: bool,
    answered: bool,
    seed: int,
) -> list[PlannedCall]:
    """The calls of a reply: those the user's text names, or what `tool_choice` demands.

    `answered` says that the last message is a tool's result: then nothing is called unless it is demanded.
    """
    known = [spec for tool in tools or () if (spec := tool.spec()) is not None]
    if not known or choice == "none":
        return []
    if isinstance(choice, ToolChoice):
        wanted = [spec for spec in known if spec.name == choice.wanted()][:1]
    else:
        wanted = [] if answered else [spec for spec in known if _mentions(asked, spec.name)]
        if choice == "required" and not wanted:
            wanted = known[:1]
    source = random.Random(seed)
    kept = wanted if parallel else wanted[:1]
    return [_planned(spec, asked, source) for spec in kept]


def fill(schema: LooseObject, asked: str, source: random.Random) -> Json:
    """A value for a schema, its strings from the words of the question."""
    return SchemaFiller(cast("JsonObject", schema), source, _WORD.findall(asked)[:40], asked).value()


def _planned(spec: FunctionSpec, asked: str, source: random.Random) -> PlannedCall:
    schema = spec.parameters or {"type": "object", "properties": {}}
    arguments = msgspec.json.encode(fill(schema, asked, source)).decode()
    return PlannedCall(f"call_{source.getrandbits(96):024x}", spec.name, arguments)


def _mentions(asked: str, name: str) -> bool:
    low = asked.lower()
    return name.lower() in low or name.lower().replace("_", " ") in low
