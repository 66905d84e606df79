"""Two simulated providers and one gateway over them, shared by the tests that do not need their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stanchion.simulator import SimulatorOptions, Timing
from tests.acceptance.stage import QUICK, Gateway, Provider, provider

# Fast, and yet an event at a time: what a client saw does not hang on how the network joined them.
PACED = Timing(tokens_per_s=2000.0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def providers() -> Iterator[tuple[Provider, Provider]]:
    options = SimulatorOptions(timing=PACED)
    with Provider(options) as one, Provider(options) as two:
        yield one, two


@pytest.fixture(scope="session")
def shared_gateway(
    providers: tuple[Provider, Provider], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    one, two = providers
    settings = (
        QUICK
        + provider("one", one.base_url, "models = []")
        + provider("two", two.base_url, 'models = ["only-two"]')
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), settings) as running:
        yield running


@pytest.fixture
def one(providers: tuple[Provider, Provider]) -> Provider:
    """The provider that is asked first, with nothing planned and nothing in its log."""
    providers[0].plan()
    return providers[0]


@pytest.fixture
def gateway(shared_gateway: Gateway, one: Provider) -> Gateway:
    return shared_gateway
