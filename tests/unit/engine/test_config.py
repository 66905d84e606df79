"""Settings: defaults < file < environment < flags; what is wrong is named, with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from stanchion.core.errors import SettingsError
from stanchion.engine.config import Loaded, load
from stanchion.engine.settings import SECTIONS, Settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings_from(text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Loaded:
    file = Path("given.toml")
    file.write_text(text, encoding="utf-8")
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    return load(file, flags=dotted, environ=environ or {})


def refused(text: str = "", environ: dict[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(SettingsError) as raised:
        settings_from(text, environ, **flags)
    return str(raised.value)


def test_with_nothing_at_all_the_defaults_hold_and_the_simulator_stands_in() -> None:
    loaded = load(environ={})
    assert (loaded.settings, loaded.file, loaded.simulated, dict(loaded.origins)) == (
        Settings(),
        None,
        True,
        {},
    )


def test_each_source_goes_over_the_one_before_and_every_value_knows_its_own() -> None:
    text = "[retry]\nattempts = 4\nbase_s = 1.5\nmost_s = 9\n"
    environ = {"STANCHION_RETRY_BASE_S": "2.5", "STANCHION_RETRY_MOST_S": "8"}
    loaded = settings_from(text, environ, retry__most_s="7")
    retry = loaded.settings.retry
    assert (retry.attempts, retry.base_s, retry.most_s, retry.budget_ratio) == (4, 2.5, 7.0, 0.1)
    assert dict(loaded.origins) == {
        "retry.attempts": "given.toml",
        "retry.base_s": "STANCHION_RETRY_BASE_S",
        "retry.most_s": "the command line",
    }


def test_the_file_is_the_one_named_or_that_of_the_environment_or_the_one_here() -> None:
    for name, attempts in (("stanchion.toml", 4), ("other.toml", 5), ("named.toml", 6)):
        Path(name).write_text(f"[retry]\nattempts = {attempts}\n", encoding="utf-8")
    environ = {"STANCHION_CONFIG": "other.toml"}
    assert load(environ={}).settings.retry.attempts == 4
    assert load(environ=environ).settings.retry.attempts == 5
    assert load("named.toml", environ=environ).settings.retry.attempts == 6


def test_a_file_that_is_not_there_or_not_toml_is_named() -> None:
    for environ, file in (({}, "gone.toml"), ({"STANCHION_CONFIG": "gone.toml"}, None)):
        with pytest.raises(SettingsError, match=r"there is no configuration file gone\.toml"):
            load(file, environ=environ)
    assert "given.toml is not valid TOML" in refused("[retry")
    Path("latin.toml").write_bytes(b"# \xff")
    with pytest.raises(SettingsError, match=r"latin\.toml cannot be read"):
        load("latin.toml", environ={})


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_of_a_section_has_a_variable(section: str) -> None:
    for field in SECTIONS[section].__struct_fields__:
        default = getattr(getattr(Settings(), section), field)
        name = f"STANCHION_{section}_{field}".upper()
        loaded = load(environ={name: str(default)})
        assert getattr(getattr(loaded.settings, section), field) == default
        assert loaded.origins == {f"{section}.{field}": name}


@pytest.mark.parametrize(
    ("text", "environ", "flags", "told"),
    [
        ("[retry]\nattemps = 3", {}, {}, "unknown key retry.attemps in given.toml; did you mean 'attempts'?"),
        ("[retyr]\nattempts = 3", {}, {}, "unknown section [retyr] in given.toml; did you mean 'retry'?"),
        ("attempts = 3", {}, {}, "unknown section [attempts] in given.toml"),
        ("retry = 3", {}, {}, "[retry] must be a table"),
        ("[providers]\nx = 3", {}, {}, "[providers.x] must be a table"),
        (
            "[providers.x]\nbase_ulr = 'http://a'",
            {},
            {},
            "unknown key providers.x.base_ulr in given.toml; did you mean 'base_url'?",
        ),
        (
            "[routes.r]\nbalance = 'a/m'\n[routes.r.retry]\natempts = 1",
            {},
            {},
            "unknown key routes.r.retry.atempts in given.toml; did you mean 'attempts'?",
        ),
        (
            "",
            {"STANCHION_RETRY_ATEMPTS": "3"},
            {},
            "STANCHION_RETRY_ATEMPTS is unknown; did you mean 'STANCHION_RETRY_ATTEMPTS'?",
        ),
        ("", {"STANCHION_ZZZ": "3"}, {}, "the environment variable STANCHION_ZZZ is unknown"),
        (
            "",
            {},
            {"retry__atempts": "3"},
            "unknown key retry.atempts in the command line; did you mean 'attempts'?",
        ),
        ("", {}, {"nothing__like": "3"}, "unknown section [nothing] in the command line"),
        ("[retry]\nattempts = 'many'", {}, {}, "retry.attempts in given.toml: expected `int`, got `str`"),
        (
            "",
            {"STANCHION_RETRY_ATTEMPTS": "x"},
            {},
            "retry.attempts in STANCHION_RETRY_ATTEMPTS: expected `int`",
        ),
        ("[retry]\nattempts = 1.5", {}, {}, "retry.attempts in given.toml: expected `int`, got `float`"),
        ("[log]\nlevel = 'loud'", {}, {}, "log.level in given.toml: invalid enum value 'loud'"),
        ("[retry]\nattempts = 0", {}, {}, "retry.attempts is 0: it must be more than 0"),
        ("[retry]\nbase_s = -1", {}, {}, "retry.base_s is -1"),
        ("[gateway]\nport = 70000", {}, {}, "gateway.port must be at most 65535"),
        ("[routes.r]\nbalance = []", {}, {}, "routes.r.balance must name at least one"),
        ("[routes.r]\nbalance = ['m']", {}, {}, "'m' must be \"provider/model\""),
    ],
)
def test_what_is_wrong_is_named_with_what_to_write(text, environ, flags, told: str) -> None:
    assert told in refused(text, environ, **flags)


KEYS = "[providers.x]\nbase_url = 'http://a/v1'\n[[providers.x.keys]]\n"
PROVIDER = "[providers.mine]\nbase_url = 'http://127.0.0.1:1/v1'\nauth = 'none'\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[providers.x]\npreset = 'opnai'", "there is no preset 'opnai'; did you mean 'openai'?"),
        ("[providers.x]\npreset = 'compatible'", "providers.x.base_url must be a URL"),
        ("[providers.x]\nbase_url = 'ftp://a/v1'", "providers.x.base_url must be a URL"),
        ("[providers.x]\nbase_url = 'http://u:secret@a/v1'", "providers.x.base_url holds a password"),
        ("[providers.x]\nbase_url = 'http://a/v1'\nweight = 0", "providers.x.weight must be more than 0"),
        ("[providers.x]\nbase_url = 'http://a/v1'\nkey_env = 'NOT_SET'", "NOT_SET is not set"),
        ("[providers.x]\nbase_url = 'http://a/v1'\nkey_env = 'sk-secret'", "never the key itself"),
        ("[providers.x]\nbase_url = 'http://a/v1'\nkey_file = 'sk-secret-secret'", "seems to hold a key"),
        (KEYS + "env = 'sk-secret'", "providers.x.keys[0].env must be the name of an environment variable"),
        (KEYS + "name = 'a'", "providers.x.keys[0] must have exactly one of env, file, exec and aws"),
        (KEYS + "env = 'A'\nfile = 'b'", "must have exactly one of env, file, exec and aws"),
        (KEYS + "fiel = 'b'", "unknown key providers.x.keys[0].fiel"),
        (KEYS + "file = 'b'\nweight = 0", "providers.x.keys[0].weight must be more than 0"),
        (KEYS + "exec = 'vault-key'", "keys[0].exec"),
        ("[keys]\nreread_s = 0", "keys.reread_s is 0"),
        (
            "[stores]\nlimits = 'mysql://a'",
            "stores.limits: the store's address begins with 'mysql'; write one of",
        ),
        ("[stores]\nkeys = 'redis://:secret@a:b/0'", "stores.keys: the Redis store's address cannot be read"),
        ("[stores]\nlimits = 'sqlite:///gone/x.db'", "there is no folder for the store /gone/x.db"),
        ('[providers.x]\nbase_url = "http://a/v1"\nheaders = {"X-A" = "a\\nb"}', "cannot be sent"),
        ('[providers."a/b"]\nbase_url = "http://a/v1"', "a provider's name holds no '/'"),
        (PROVIDER + "[routes.r]\nbalance = 'mime/m'", "there is no provider 'mime'; did you mean 'mine'?"),
        (PROVIDER + "[routes.r]\nbalance = 'r'", 'must be "provider/model"'),
        (
            PROVIDER + "[routes.r]\nbalance = 'mine/m'\nfallback = ['s']",
            'must be "provider/model" or a route',
        ),
    ],
)
def test_a_provider_or_route_that_cannot_work_is_named(text: str, told: str) -> None:
    message = refused(text)
    assert told in message
    assert "secret" not in message


def test_a_provider_is_found_by_a_variable_that_names_a_file() -> None:
    loaded = settings_from("", {"OPENAI_API_KEY_FILE": "/run/secrets/openai"})
    assert (list(loaded.settings.providers), loaded.simulated) == (["openai"], False)


def test_one_text_is_a_list_of_one_and_a_list_can_stand_in_a_variable() -> None:
    loaded = settings_from(
        PROVIDER + "models = ['a*', 'b']\n[routes.r]\nbalance = 'mine/m'\nfallback = ['mine/n']"
    )
    assert loaded.settings.routes["r"].balance == ("mine/m",)
    assert loaded.settings.providers["mine"].models == ("a*", "b")
    assert loaded.simulated is False
    assert 'must be a list such as ["a", "b"]' in refused(retry__attempts="[1")


def test_shares_of_the_line_come_from_the_file_or_a_variable() -> None:
    assert settings_from("[line.weights]\nshop = 4").settings.line.weights == {"shop": 4.0}
    environ = {"STANCHION_LINE_WEIGHTS": "{ shop = 4, nightly = 0.5 }"}
    assert settings_from("", environ).settings.line.weights == {"shop": 4.0, "nightly": 0.5}


def test_a_line_that_could_not_work_is_refused() -> None:
    assert "line.batch_share must be less than 1" in refused("[line]\nbatch_share = 1.0")
    assert "line.weights.shop is 0.0" in refused("[line.weights]\nshop = 0")
    assert "mine.open_most must be 0" in refused(PROVIDER + "open_most = -1")


def test_a_hedge_that_could_not_work_is_refused() -> None:
    assert "hedge.quantile is 1.0: it must be less than 1" in refused("[hedge]\nquantile = 1.0")
    assert "hedge.extra_most is 5.0: it is a part" in refused("[hedge]\nextra_most = 5")
    assert "hedge.fill_most is 80.0: it is a part" in refused("[hedge]\nfill_most = 80")
    assert "hedge.least_samples is 0: it must be more than 0" in refused("[hedge]\nleast_samples = 0")
    route = PROVIDER + "[routes.r]\nbalance = 'mine/m'\n[routes.r.hedge]\n"
    assert "routes.r.hedge.quantile is 1.0" in refused(route + "quantile = 1.0")


def test_a_route_says_only_what_differs() -> None:
    text = (
        PROVIDER
        + "[retry]\nattempts = 5\nbase_s = 2\n[routes.r]\nbalance = 'mine/m'\n[routes.r.retry]\nattempts = 1\n"
    )
    retry = settings_from(text).settings.routes["r"].retry
    assert retry is not None
    assert (retry.attempts, retry.base_s) == (1, 2.0)


def test_without_providers_those_whose_key_is_there_are_taken() -> None:
    environ = {"OPENAI_API_KEY": "sk-canary", "DEEPSEEK_API_KEY": "sk-canary"}
    loaded = settings_from("", environ)
    assert set(loaded.settings.providers) == {"openai", "deepseek"}
    assert loaded.origins["providers.openai"] == "OPENAI_API_KEY"
    assert "canary" not in repr(loaded) + repr(loaded.settings) + repr(loaded.origins)
    loaded = settings_from("", {**environ, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    openai = loaded.settings.providers["openai"]
    assert (openai.base_url, openai.models) == ("http://127.0.0.1:9/v1", ())  # another server: any model
    assert set(settings_from(PROVIDER, environ).settings.providers) == {"mine"}
    assert settings_from("", {"OPENAI_API_KEY": ""}).simulated is True
