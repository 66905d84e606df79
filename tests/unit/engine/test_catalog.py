"""Which model is answered where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stanchion.core.call import Call
from stanchion.core.errors import SettingsError, UnknownModel
from stanchion.core.secret import Secret
from stanchion.engine.catalog import Catalog
from stanchion.engine.config import load
from stanchion.keys.slot import KeySlot
from stanchion.keys.source import Found
from stanchion.policies.retry import RetryOptions
from stanchion.providers.openai import EndpointSpec
from stanchion.testing import ScriptedProvider, chat_call

KEY = "sk-canary-1"


def catalog(
    text: str, tmp_path: Path, environ: dict[str, str] | None = None
) -> tuple[Catalog, list[EndpointSpec]]:
    file = tmp_path / "s.toml"
    file.write_text(text, encoding="utf-8")
    loaded, made = load(file, environ=environ or {}), list[EndpointSpec]()

    def make(spec: EndpointSpec) -> ScriptedProvider:
        made.append(spec)
        return ScriptedProvider(name=spec.name)

    return Catalog(loaded.settings, loaded.environ, make), made


def call_for(model: str) -> Call:
    return chat_call(model=model)


def names(found: Catalog, target: str) -> list[str]:
    return [endpoint.name for endpoint, _ in found.endpoints(target)]


OPEN = "auth = 'none'\n"
TWO = (
    f"[providers.a]\nbase_url = 'http://a/v1'\nmodels = ['gpt-*', 'o?']\n{OPEN}"
    f"[providers.b]\nbase_url = 'http://b/v1/'\nmodels = ['gpt-4*']\nweight = 3\n{OPEN}"
)


def test_a_pattern_finds_all_providers_that_serve_a_model(tmp_path: Path) -> None:
    found, made = catalog(TWO, tmp_path)
    assert found.route(call_for("gpt-4o")) == ("model:gpt-4o",)
    assert names(found, "model:gpt-4o") == ["a/gpt-4o", "b/gpt-4o"]
    assert names(found, "model:o3") == ["a/o3"]
    assert [weight for _, weight in found.endpoints("model:gpt-4o")] == [1.0, 3.0]
    assert [spec.base_url for spec in made] == ["http://a/v1", "http://b/v1", "http://a/v1"]


def test_a_provider_can_be_named_with_any_model(tmp_path: Path) -> None:
    found, _ = catalog(TWO, tmp_path)
    assert found.route(call_for("b/my/own-model")) == ("b/my/own-model",)
    assert names(found, "b/my/own-model") == ["b/my/own-model"]


def test_a_model_nobody_serves_is_refused_with_the_nearest_and_not_repeated(tmp_path: Path) -> None:
    found, _ = catalog(TWO + "[routes.support]\nbalance = 'a/gpt-4'\n", tmp_path)
    with pytest.raises(UnknownModel, match="did you mean 'support'") as raised:
        found.route(call_for("suport"))
    assert raised.value.status == 404
    with pytest.raises(UnknownModel) as raised:
        found.route(call_for("secret words"))
    assert "secret" not in str(raised.value)
    for model in ("c/m", "a/", "/m"):
        with pytest.raises(UnknownModel):
            found.route(call_for(model))


def test_the_only_provider_serves_what_no_pattern_names_and_one_without_patterns_serves_all(
    tmp_path: Path,
) -> None:
    found, _ = catalog(f"[providers.a]\nbase_url = 'http://a'\nmodels = ['x']\n{OPEN}", tmp_path)
    assert names(found, "model:whatever") == ["a/whatever"]
    found, _ = catalog(TWO + f"[providers.any]\nbase_url = 'http://c'\n{OPEN}", tmp_path)
    assert names(found, "model:whatever") == ["any/whatever"]
    assert names(found, "model:o3") == ["a/o3"]


def test_a_route_is_its_balanced_set_then_its_chain(tmp_path: Path) -> None:
    routes = (
        "[routes.one]\nbalance = ['a/m', 'b/m']\nfallback = ['two', 'a/n']\n"
        "[routes.two]\nbalance = ['b/n']\nfallback = ['three', 'a/n']\n"
        "[routes.three]\nbalance = ['b/o']\nfallback = ['one', 'two']\n"
    )
    found, _ = catalog(TWO + routes, tmp_path)
    assert found.route(call_for("one")) == ["route:one", "route:two", "route:three", "a/n"]
    assert found.route(call_for("two")) == ["route:two", "route:three", "route:one", "a/n"]
    assert names(found, "route:one") == ["a/m", "b/m"]
    assert (list(found.names), list(found.providers)) == (["one", "two", "three"], ["a", "b"])
    assert found.route_options("one") == {}


def test_a_routes_own_options_are_found_by_its_name(tmp_path: Path) -> None:
    text = "[routes.r]\nbalance = 'a/m'\n[routes.r.retry]\nattempts = 7\n"
    found, _ = catalog(TWO + text, tmp_path)
    assert found.route_options("r") == {RetryOptions: RetryOptions(attempts=7)}
    assert found.route_options("gpt-4o") == {}


def test_a_route_goes_over_a_pattern(tmp_path: Path) -> None:
    found, _ = catalog(TWO + "[routes.gpt-4o]\nbalance = 'b/gpt-4-mini'\n", tmp_path)
    assert found.route(call_for("gpt-4o")) == ["route:gpt-4o"]


def test_an_endpoint_is_made_once_for_all_targets_that_name_it(tmp_path: Path) -> None:
    found, made = catalog(TWO + "[routes.r]\nbalance = 'a/gpt-4'\n", tmp_path)
    one = [found.endpoints(target)[0][0] for target in ("route:r", "a/gpt-4", "model:gpt-4", "a/gpt-4")]
    assert all(each is one[0] for each in one)
    assert [spec.name for spec in made].count("a/gpt-4") == 1


def held(keyed: tuple[KeySlot, Found | None]) -> Secret:
    assert keyed[1] is not None
    return keyed[1].secret


def test_several_keys_are_several_endpoints_and_no_key_shows(tmp_path: Path) -> None:
    text = "[providers.a]\nbase_url = 'http://a'\nkey_env = ['ONE', 'TWO']\n"
    found, made = catalog(text, tmp_path, {"ONE": KEY, "TWO": "sk-canary-2"})
    assert names(found, "a/m") == ["a/m#ONE", "a/m#TWO"]
    assert [spec.key.name for spec in made if spec.key] == ["a#ONE", "a#TWO"]
    assert [held(each).reveal() for each in found.keys] == [KEY, "sk-canary-2"]
    assert "canary" not in repr(made) + repr(found.keys)
    found, _ = catalog(text.replace(", 'TWO'", ""), tmp_path, {"ONE": KEY})
    assert names(found, "a/m") == ["a/m"]


def test_a_key_can_stand_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY, encoding="utf-8")
    text = f"[providers.a]\nbase_url = 'http://a'\nkey_file = '{file}'\n"
    file.chmod(0o600)
    found, made = catalog(text, tmp_path)
    found.endpoints("a/m")
    assert made[0].key is found.keys[0][0]
    assert held(found.keys[0]).reveal() == KEY
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        catalog(text, tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="key files are checked where modes are")
@pytest.mark.parametrize(
    "content", [b"", b"sk-canary two", b"sk-canary\nsecond", b"sk-canary\n", b"\xffsk-canary"]
)
def test_a_key_file_that_holds_no_key_is_named_and_its_content_is_not(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(SettingsError) as raised:
        catalog(f"[providers.a]\nbase_url = 'http://a'\nkey_file = '{file}'\n", tmp_path)
    assert str(file) in str(raised.value)
    assert "canary" not in str(raised.value)


def test_a_key_file_that_is_not_there_and_a_key_that_is_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the key file gone cannot be read: FileNotFoundError"):
        catalog("[providers.a]\nbase_url = 'http://a'\nkey_file = 'gone'\n", tmp_path)
    with pytest.raises(SettingsError, match=r"providers\.a needs a key: set DEEPSEEK_API_KEY"):
        catalog("[providers.a]\npreset = 'deepseek'\n", tmp_path)


def test_a_provider_that_needs_no_key_has_none(tmp_path: Path) -> None:
    found, made = catalog("[providers.a]\npreset = 'ollama'\n", tmp_path)
    found.endpoints("a/m")
    assert made[0].key is None


def test_after_a_reload_endpoints_that_did_not_change_are_kept(tmp_path: Path) -> None:
    older, _ = catalog(TWO, tmp_path)
    kept = older.endpoints("a/m")[0][0]
    newer, made = catalog(TWO.replace("http://b/v1/", "http://elsewhere/v1"), tmp_path)
    newer.adopt(older)
    assert newer.endpoints("a/m")[0][0] is kept
    newer.endpoints("b/m")
    assert [spec.base_url for spec in made] == ["http://elsewhere/v1"]
    other, made = catalog(TWO + "[health]\nfailures = 9\n", tmp_path)
    other.adopt(older)
    assert other.endpoints("a/m")[0][0] is not kept


def test_what_is_kept_for_models_that_callers_make_up_is_bounded(tmp_path: Path) -> None:
    found, _ = catalog(TWO, tmp_path)
    for number in range(1100):
        found.endpoints(f"a/made-up-{number}")
    assert len(found._endpoints) <= 1000
    assert len(found._made) <= 1000


def test_endpoints_whose_provider_did_not_change_are_kept_when_another_comes_or_goes(tmp_path: Path) -> None:
    one = "[providers.one]\nbase_url = 'http://a/v1'\nauth = 'none'\nopen_most = 3\n"
    two = "[providers.two]\nbase_url = 'http://b/v1'\nauth = 'none'\n"
    older, _ = catalog(one, tmp_path)
    kept = older.endpoints("one/m")
    newer, made = catalog(one + two, tmp_path)
    newer.adopt(older)
    assert newer.endpoints("one/m")[0][0] is kept[0][0]
    changed, _ = catalog(one.replace("3", "4") + two, tmp_path)
    changed.adopt(newer)
    assert changed.endpoints("one/m")[0][0] is not kept[0][0]
    assert made == []


def test_the_home_of_a_call_is_where_it_goes_first_with_the_address(tmp_path: Path) -> None:
    route = "[routes.fast]\nbalance = ['b/m', 'a/m']\nfallback = ['a/other']\n"
    found, _ = catalog(TWO + route, tmp_path)
    assert found.home(call_for("a/m")).targets == ("http://a/v1 m",)
    assert found.home(call_for("gpt-4o")).targets == ("http://a/v1 gpt-4o", "http://b/v1 gpt-4o")
    assert found.home(call_for("fast")).targets == ("http://a/v1 m", "http://b/v1 m")
    assert found.home(call_for("fast")).names == {"a/m", "b/m"}  # the fallback is not at home
    with pytest.raises(UnknownModel):
        found.home(call_for("nobody's"))
    for number in range(1100):
        found.home(call_for(f"a/made-up-{number}"))
    assert len(found._homes) <= 1000


def test_a_route_that_leads_elsewhere_has_another_home(tmp_path: Path) -> None:
    route = "[routes.fast]\nbalance = ['a/m']\n"
    before, _ = catalog(TWO + route, tmp_path)
    model, _ = catalog(TWO + route.replace("a/m", "a/n"), tmp_path)
    address, _ = catalog(TWO.replace("http://a/v1", "http://elsewhere/v1") + route, tmp_path)
    homes = [each.home(call_for("fast")).targets for each in (before, model, address)]
    assert len(set(homes)) == 3
