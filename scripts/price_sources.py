"""What two packages say of prices, in the shape of data/prices.json.  Text in, rows out: nothing of them is run."""

from __future__ import annotations

import ast
import datetime
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple


class Known(NamedTuple):
    """Where a provider's prices stand in both packages, and at which hosts it answers."""

    genai: str
    litellm: str
    hosts: tuple[str, ...]
    cny: bool = False  # it lists its prices in CNY; both packages tell them converted


PROVIDERS = {
    "openai": Known("openai", "openai", ("api.openai.com",)),
    "azure": Known("azure", "azure", ()),
    "deepseek": Known("deepseek", "deepseek", ("api.deepseek.com",)),
    "qwen": Known("", "dashscope", ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com")),
    "moonshot": Known("moonshotai", "moonshot", ("api.moonshot.cn", "api.moonshot.ai")),
    "zhipu": Known("zhipuai", "bigmodel", ("open.bigmodel.cn",), cny=True),
    "zai": Known("zai", "zai", ("api.z.ai",)),
    "openrouter": Known("openrouter", "", ("openrouter.ai",)),
    "anthropic": Known("anthropic", "anthropic", ("api.anthropic.com",)),
    "google": Known("google", "gemini", ("generativelanguage.googleapis.com",)),
    "groq": Known("groq", "groq", ("api.groq.com",)),
    "mistral": Known("mistral", "mistral", ("api.mistral.ai",)),
    "xai": Known("x-ai", "xai", ("api.x.ai",)),
    "together": Known("together", "together_ai", ("api.together.xyz",)),
    "fireworks": Known("fireworks", "fireworks_ai", ("api.fireworks.ai",)),
    "cerebras": Known("cerebras", "cerebras", ("api.cerebras.ai",)),
    "minimax": Known("minimax", "minimax", ("api.minimax.io", "api.minimaxi.com")),
}
CLASSES = {  # ours: genai-prices', LiteLLM's
    "input": ("input_mtok", "input_cost_per_token"),
    "input_cached": ("cache_read_mtok", "cache_read_input_token_cost"),
    "input_cache_write": ("cache_write_mtok", "cache_creation_input_token_cost"),
    "input_audio": ("input_audio_mtok", "input_cost_per_audio_token"),
    "output": ("output_mtok", "output_cost_per_token"),
    "output_reasoning": ("output_reasoning_mtok", "output_cost_per_reasoning_token"),
    "output_audio": ("output_audio_mtok", "output_cost_per_audio_token"),
}
VARIANTS = {
    "batches": "batch",
    "flex": "flex",
    "priority": "priority",
}  # LiteLLM's suffix: OpenAI's service_tier
PER_CALL = ("requests_kcount",)  # a fee for each call: tokens alone do not tell the cost
TOKEN_MODES = {"chat", "completion", "embedding", "responses"}
GENAI_CNY_PER_USD, LITELLM_CNY_PER_USD = Decimal("7.25"), Decimal(7)  # as each package says it converted
Row = dict[str, Any]


# --- genai-prices -------------------------------------------------------------------------------------


def value(node: ast.expr) -> Any:
    """Return what a constructor's argument says: a call becomes a dictionary with its name in `is`."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name == "Decimal":
            return Decimal(ast.literal_eval(node.args[0]))
        if name in {"datetime.date", "datetime.time"}:
            return tuple(ast.literal_eval(each) for each in node.args)
        return {"is": name, **{each.arg or "": value(each.value) for each in node.keywords}}
    if isinstance(node, ast.List):
        return [value(each) for each in node.elts]
    if isinstance(node, ast.Attribute):
        return ast.unparse(node)
    return ast.literal_eval(node)


def genai_rows(source: str, today: datetime.date) -> Iterator[tuple[str, str, Row]]:
    """Yield provider, model and row."""
    assigned = next(each for each in ast.parse(source).body if isinstance(each, ast.AnnAssign))
    wanted = {known.genai: name for name, known in PROVIDERS.items() if known.genai}
    for provider in value(assigned.value or ast.List([])):
        name = wanted.get(provider["id"])
        for model in provider["models"] if name else ():
            row = genai_row(model, today, cny=PROVIDERS[name or ""].cny)
            if row is None:
                continue
            row["page"] = provider["pricing_urls"][0]
            for called in {model["id"], *equal_names(model["match"])}:
                yield name or "", called, row


def equal_names(match: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names a match takes as they are.  Prefixes are left out: a new model may begin like an old one."""
    if match["is"] == "ClauseEquals":
        yield match["equals"]
    for each in match.get("or_", ()):
        yield from equal_names(each)


def genai_row(model: Mapping[str, Any], today: datetime.date, *, cny: bool) -> Row | None:
    """Return the row of a model as of today; None if tokens alone do not tell its cost."""
    prices = model["prices"]
    since = ""
    if isinstance(prices, list):
        prices, since = in_force(prices, today)
    row = genai_price(prices, cny=cny)
    if row is None:
        return None
    for variant in model.get("price_variants") or ():
        kind = variant["when"].get("processing") or variant["when"].get("service_tier")
        if kind in VARIANTS.values() and len(variant["when"]) == 1 and started(variant, today):
            # a variant that leaves a class out has the standard price for it
            made = genai_price({**prices, **variant["prices"]}, cny=cny)
            if made is not None:
                row.setdefault("variants", {})[kind] = made
    if since:
        row["since"] = since
    if cny:
        row["currency"] = "CNY"
    return row


def in_force(prices: list[Any], today: datetime.date) -> tuple[Any, str]:
    """Return the newest price, and since when; of prices that depend on the hour the dearest."""
    dated, hourly, since = None, [], ""
    for each in prices:
        constraint = each.get("constraint")
        if constraint is None:
            dated = each["prices"]
        elif constraint["is"] == "StartDateConstraint":
            begins = datetime.date(*constraint["start_date"])
            if begins <= today:
                dated, since = each["prices"], begins.isoformat()
        else:
            hourly.append(each["prices"])
    found = max([each for each in (dated, *hourly) if each], key=lambda each: first(each.get("input_mtok")))
    return found, since


def started(variant: Mapping[str, Any], today: datetime.date) -> bool:
    """Say whether a variant holds yet."""
    constraint = variant.get("constraint")
    if constraint is None:
        return True
    return constraint["is"] == "StartDateConstraint" and datetime.date(*constraint["start_date"]) <= today


def first(price: Any) -> Decimal:
    """Return a price as it is for a short prompt."""
    return price["base"] if isinstance(price, dict) else price or Decimal(0)


def genai_price(prices: Mapping[str, Any], *, cny: bool) -> Row | None:
    """Return the prices by class, with the steps for long prompts."""
    if prices.get("input_mtok") is None or any(prices.get(fee) for fee in PER_CALL):
        return None
    rate = GENAI_CNY_PER_USD if cny else None
    found = {ours: prices[theirs] for ours, (theirs, _) in CLASSES.items() if prices.get(theirs) is not None}
    found.setdefault("output", Decimal(0))  # embeddings
    row: Row = {ours: micro(first(each), rate) for ours, each in found.items()}
    tiers = [each["tiers"] for each in found.values() if isinstance(each, dict)]
    starts = sorted({tier["start"] for each in tiers for tier in each})
    row_tiers = [
        {"tokens": start, **{ours: micro(at(each, start), rate) for ours, each in found.items()}}
        for start in starts
    ]
    return {**row, "above": row_tiers} if row_tiers else row


def at(price: Any, tokens: int) -> Decimal:
    """Return the price of a class for prompts above so many tokens."""
    if not isinstance(price, dict):
        return price
    passed = [tier["price"] for tier in price["tiers"] if tier["start"] <= tokens]
    return passed[-1] if passed else price["base"]


def micro(price: Decimal, rate: Decimal | None = None) -> int:
    """Make units per million tokens micro-units; with a rate, what a list in CNY said before it was converted."""
    if rate is not None:
        price = (price * rate).quantize(Decimal("0.01"))
    return int((price * 1_000_000).to_integral_value())


# --- LiteLLM ------------------------------------------------------------------------------------------


def litellm_rows(text: str) -> Iterator[tuple[str, str, Row]]:
    """Yield provider, model and row."""
    wanted = {known.litellm: name for name, known in PROVIDERS.items() if known.litellm}
    for called, entry in json.loads(text, parse_float=Decimal).items():
        name = wanted.get(entry.get("litellm_provider", ""))
        if name is None or entry.get("mode") not in TOKEN_MODES:
            continue
        cny = PROVIDERS[name].cny
        row = litellm_price(entry, "", cny=cny)
        if row is None or not (row["input"] or row["output"] or entry.get("source")):
            continue  # a 0 without a page is a gap, not a gift
        for suffix, kind in VARIANTS.items():
            if f"input_cost_per_token_{suffix}" in entry:
                row.setdefault("variants", {})[kind] = litellm_price(entry, suffix, cny=cny)
        row["page"] = entry.get("source", "")
        if cny:
            row["currency"] = "CNY"
        prefix = f"{PROVIDERS[name].litellm}/"
        yield name, called.removeprefix(prefix), row


def litellm_price(entry: Mapping[str, Any], suffix: str, *, cny: bool) -> Row | None:
    """Return the prices by class, with the steps for long prompts; `suffix` is of a variant."""

    def of(above: str) -> Row:
        found: Row = {}
        for ours, (_, theirs) in CLASSES.items():
            # a class that has no price of its own in this variant or tier has that of the next wider one
            for name in (f"{theirs}{above}_{suffix}", f"{theirs}_{suffix}", f"{theirs}{above}", theirs):
                price = entry.get(name.removesuffix("_"))
                if price is not None and not (ours == "input_cache_write" and price == 0):
                    rate = LITELLM_CNY_PER_USD if cny else None
                    found[ours] = micro(Decimal(price) * 1_000_000, rate)
                    break
        return found

    steps = entry.get("tiered_pricing")
    if steps and all("range" in each for each in steps):
        made = [
            {"tokens": int(each["range"][0]), **(litellm_price(each, "", cny=cny) or {})} for each in steps
        ]
        made.sort(key=lambda each: each["tokens"])
        base = {ours: price for ours, price in made[0].items() if ours != "tokens"}
        return {**base, "above": made[1:]} if made[1:] and "input" in base else None
    row = of("")
    if "input" not in row:
        return None
    row.setdefault("output", 0)
    found = (re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", key) for key in entry)
    above = sorted(int(each[1]) for each in found if each)
    tiers = [{"tokens": step * 1000, **of(f"_above_{step}k_tokens")} for step in above]
    return {**row, "above": tiers} if tiers else row
