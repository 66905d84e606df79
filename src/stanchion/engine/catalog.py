"""Which model is answered where: routes, providers and patterns -> targets -> endpoints.

A target is "route:NAME" (the balanced set of a route), "provider/model", or "model:NAME" (all providers
that serve the name).  Endpoints are made when first asked for and kept, so their health is kept too.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from stanchion.core.call import Call
from stanchion.core.errors import SettingsError, UnknownModel
from stanchion.core.service import Endpoint
from stanchion.engine.preset_of import preset_of
from stanchion.engine.settings import ROUTE_SECTIONS, LimitSettings, ProviderSettings, RouteSettings, Settings
from stanchion.keys.options import KeySettings
from stanchion.keys.places import places_of, variable_is_set
from stanchion.keys.slot import KeySlot, KeySpec
from stanchion.keys.source import Found, KeySource, SourceFailed
from stanchion.providers.openai import EndpointSpec
from stanchion.providers.presets import Preset
from stanchion.rules.cache_key import Home

Make = Callable[[EndpointSpec], Endpoint]
Slots = Callable[[KeySpec, KeySource], KeySlot]
ReadKeys = Mapping[str, Found | None]  # by the key's name; None where reading takes a while
Keyed = tuple[KeySlot | None, float]  # a key with its weight; None where none is needed
_TARGETS_MOST = 1000  # callers name models: what is kept for them is bounded


class Catalog:
    """The targets of one configuration."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        make: Make,
        slots: Slots = KeySlot,
        read: ReadKeys | None = None,
    ) -> None:
        """`slots` finds or makes the key of a spec; what was not `read` before is read now.

        Raises SettingsError for a key that cannot be read.
        """
        self._settings = settings
        self._make = make
        self._presets = {name: preset_of(each) for name, each in settings.providers.items()}
        self.keys: list[tuple[KeySlot, Found | None]] = []  # with what those held that are read at once
        self._environ = environ
        self._slots = slots
        self._keys = {name: self._keys_of(name, read or {}) for name in settings.providers}
        self._endpoints: OrderedDict[str, Sequence[tuple[Endpoint, float]]] = OrderedDict()
        self._made: dict[EndpointSpec, Endpoint] = {}
        self._targets: dict[str, Sequence[str]] = {}
        self._homes: dict[str, Home] = {}
        self._options = {name: _options(each) for name, each in settings.routes.items()}

    def adopt(self, older: Catalog) -> None:
        """Take over the endpoints of an older catalog whose settings did not change: their health stays."""
        mine, old = self._settings, older._settings
        if (mine.health, mine.attempt_timeout, mine.rate_limit) != (
            old.health,
            old.attempt_timeout,
            old.rate_limit,
        ):
            return
        kept = {slot for slot, _ in self.keys}  # another key's endpoint would keep its secret
        for spec, made in older._made.items():
            provider = spec.name.partition("/")[0]
            if _bounds(mine, provider) == _bounds(old, provider) and (spec.key is None or spec.key in kept):
                self._made[spec] = made

    def route(self, call: Call) -> Sequence[str]:
        """Return the targets of a call, in order.  Raises UnknownModel, which names the nearest."""
        found = self._targets.get(call.model)
        if found is None:
            found = self._find_targets(call.model)
            if len(self._targets) >= _TARGETS_MOST:
                self._targets.clear()
            self._targets[call.model] = found
        return found

    def home(self, call: Call) -> Home:
        """Return where a call goes first, with the addresses.  Raises UnknownModel."""
        found = self._homes.get(call.model)
        if found is None:
            places = sorted(set(self._places(self.route(call)[0])))
            found = Home(
                tuple(f"{self._presets[provider].base_url} {model}" for provider, model in places),
                frozenset(f"{provider}/{model}" for provider, model in places),
            )
            if len(self._homes) >= _TARGETS_MOST:
                self._homes.clear()
            self._homes[call.model] = found
        return found

    def _find_targets(self, asked: str) -> Sequence[str]:
        route = self._settings.routes.get(asked)
        if route is not None:
            return self._chain(asked, route)
        provider, slash, model = asked.partition("/")
        if slash and model and provider in self._settings.providers:
            return (asked,)
        if self._serving(asked):
            return (f"model:{asked}",)
        known = [*self._settings.routes, *self._patterns()]
        near = difflib.get_close_matches(asked, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"
        raise UnknownModel(f"no route and no provider serves this model; {hint}")

    def places(self, call: Call) -> list[tuple[str, str]]:
        """Return all providers that may be asked for a call, each with the model.  Raises UnknownModel."""
        return [place for target in self.route(call) for place in self._places(target)]

    def route_options(self, model: str) -> Mapping[type[Any], Any]:
        """Return the policy options of the route a model name stands for; none if it is no route."""
        return self._options.get(model, {})

    def endpoints(self, target: str) -> Sequence[tuple[Endpoint, float]]:
        """Return the endpoints of a target with their weights."""
        found = self._endpoints.get(target)
        if found is not None:
            self._endpoints.move_to_end(target)  # the least recently asked for goes first
        else:
            found = self._endpoints[target] = self._make_target(target)
            if len(self._endpoints) > _TARGETS_MOST:
                self._endpoints.popitem(last=False)
                self._forget_unused()
        return found

    @property
    def made(self) -> Mapping[EndpointSpec, Endpoint]:
        """The endpoints that were asked for so far."""
        return self._made

    @property
    def providers(self) -> Sequence[str]:
        """Name the providers."""
        return tuple(self._settings.providers)

    @property
    def names(self) -> Sequence[str]:
        """Name the routes: models that exist here and nowhere else."""
        return tuple(self._settings.routes)

    def _chain(self, name: str, route: RouteSettings, seen: frozenset[str] = frozenset()) -> Sequence[str]:
        targets = [f"route:{name}"]
        for each in route.fallback:
            below = self._settings.routes.get(each)
            if below is None:
                targets.append(each)
            elif each not in seen | {name}:  # a circle of routes ends where it began
                targets.extend(self._chain(each, below, seen | {name}))
        return list(dict.fromkeys(targets))

    def _patterns(self) -> list[str]:
        return [pattern for name, preset in self._presets.items() for pattern in self._serves(name, preset)]

    def _serves(self, name: str, preset: Preset) -> Sequence[str]:
        models = self._settings.providers[name].models
        return preset.models if models is None else models

    def _serving(self, model: str) -> list[str]:
        """Name the providers that serve a model: by pattern; else those that serve all; else the only one."""
        by_pattern = [
            name
            for name, preset in self._presets.items()
            if any(fnmatchcase(model, pattern) for pattern in self._serves(name, preset))
        ]
        if by_pattern:
            return by_pattern
        any_model = [name for name, preset in self._presets.items() if not self._serves(name, preset)]
        if any_model:
            return any_model
        return list(self._presets) if len(self._presets) == 1 else []

    def _make_target(self, target: str) -> Sequence[tuple[Endpoint, float]]:
        return tuple(each for provider, model in self._places(target) for each in self._at(provider, model))

    def _places(self, target: str) -> list[tuple[str, str]]:
        """Return a target's providers, each with the model to ask for there."""
        if target.startswith("route:"):
            parts = [each.partition("/") for each in self._settings.routes[target[6:]].balance]
            return [(provider, model) for provider, _, model in parts]
        if target.startswith("model:"):
            return [(provider, target[6:]) for provider in self._serving(target[6:])]
        provider, _, model = target.partition("/")
        return [(provider, model)]

    def _at(self, provider: str, model: str) -> list[tuple[Endpoint, float]]:
        """Return the endpoints of one model at one provider: one per key."""
        made: list[tuple[Endpoint, float]] = []
        for spec, weight in self.specs(provider, model):
            if spec not in self._made:
                self._made[spec] = self._make(spec)
            made.append((self._made[spec], weight))
        return made

    def specs(self, provider: str, model: str) -> Iterator[tuple[EndpointSpec, float]]:
        """Yield what is known of the endpoints of one model at one provider, with their weights: one per key."""
        settings, preset, keys = (
            self._settings.providers[provider],
            self._presets[provider],
            self._keys[provider],
        )
        for key, share in keys:
            name = f"{provider}/{model}"
            if key is not None and len(keys) > 1:
                name += "#" + key.name.partition("#")[2]
            spec = EndpointSpec(
                name=name,
                base_url=preset.base_url,
                model=model,
                key=key,
                preset=preset,
                headers=tuple(settings.headers.items()),
            )
            yield spec, settings.weight * share

    def _keys_of(self, name: str, read: ReadKeys) -> Sequence[Keyed]:
        """Return a provider's keys.  Raises SettingsError by name, never by value."""
        settings, preset = self._settings.providers[name], self._presets[name]
        asked = _asked(settings, preset, self._environ)
        if not asked and preset.auth != "none" and preset.key_env:
            raise SettingsError(
                f"providers.{name} needs a key: set {preset.key_env}, or say in key_env, key_file or keys where it is"
            )
        keyed: list[Keyed] = []
        for place in places_of(f"providers.{name}", asked, self._environ, self._settings.keys):
            spec = KeySpec(
                name=f"{name}#{place.name}",
                provider=name,
                base_url=preset.base_url,
                place=place.source.name,
                organization=place.settings.organization,
                project=place.settings.project,
            )
            try:
                found = read[spec.name] if spec.name in read else place.source.read_now()
            except SourceFailed as error:
                raise SettingsError(f"providers.{name}: {error}") from None
            slot = self._slots(spec, place.source)
            self.keys.append((slot, found))
            keyed.append((slot, place.settings.weight))
        return keyed or [(None, 1.0)]

    def preset(self, provider: str) -> Preset:
        """Return what is known of a provider, its settings laid over it."""
        return self._presets[provider]

    def _forget_unused(self) -> None:
        used = {id(endpoint) for each in self._endpoints.values() for endpoint, _ in each}
        self._made = {spec: made for spec, made in self._made.items() if id(made) in used}


def read_keys(settings: Settings, environ: Mapping[str, str]) -> ReadKeys:
    """Read all keys of these settings that can be read at once.  Raises SettingsError.

    A file system may be gone: who serves calls asks this in a thread.
    """
    return {slot.name: found for slot, found in Catalog(settings, environ, _make_none).keys}


def _make_none(spec: EndpointSpec) -> Endpoint:
    raise AssertionError(f"{spec.name} is not to be called")


def _bounds(settings: Settings, provider: str) -> tuple[LimitSettings, int] | None:
    """Return what bounds the calls to a provider's endpoints; None where it is not there."""
    found = settings.providers.get(provider)
    return (found.limits, found.open_most) if found is not None else None


def _options(route: RouteSettings) -> dict[type[Any], Any]:
    """Return what a route says of policies, by the type of their options."""
    found: list[Any] = [getattr(route, section) for section in ROUTE_SECTIONS]
    return {type(each): each for each in found if each is not None}


def _asked(settings: ProviderSettings, preset: Preset, environ: Mapping[str, str]) -> Sequence[KeySettings]:
    """Return where a provider's keys are: what the settings say, else the preset's variable if it is set."""
    said = [
        *(KeySettings(env=variable) for variable in settings.key_env),
        *(KeySettings(file=file) for file in settings.key_file),
        *settings.keys,
    ]
    if said:
        return said
    usual = preset.key_env
    return [KeySettings(env=usual)] if usual and variable_is_set(usual, environ) else []
