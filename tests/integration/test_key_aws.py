"""A key in AWS Secrets Manager, against a server that plays it (moto)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from stanchion.keys.aws import AwsSource
from stanchion.keys.source import SourceFailed

KEY = "sk-canary-0123456789"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def secrets(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return boto3.Session().client("secretsmanager", region_name="eu-west-1")


def source(name: str, field: str = "") -> AwsSource:
    return AwsSource(name, 300.0, field=field, region="eu-west-1")


async def test_the_current_version_is_the_key_also_after_a_rotation(secrets: Any) -> None:
    secrets.create_secret(Name="of-these-tests/openai", SecretString=KEY)
    place = source("of-these-tests/openai")
    assert (await place.read()).secret.reveal() == KEY
    secrets.put_secret_value(
        SecretId="of-these-tests/openai", SecretString="sk-2", VersionStages=["AWSPENDING"]
    )
    assert (await place.read()).secret.reveal() == KEY
    secrets.put_secret_value(SecretId="of-these-tests/openai", SecretString="sk-3")
    assert (await place.read()).secret.reveal() == "sk-3"


async def test_one_field_of_a_secret_can_be_the_key(secrets: Any) -> None:
    secrets.create_secret(Name="prod/all", SecretString=f'{{"openai": "{KEY}", "number": 1}}')
    assert (await source("prod/all", "openai").read()).secret.reveal() == KEY
    for field in ("other", "number"):
        with pytest.raises(SourceFailed, match=f"prod/all has no field '{field}'") as raised:
            await source("prod/all", field).read()
        assert raised.value.code == "no_field"


async def test_what_cannot_be_read_is_told_by_its_name_and_awss_code(secrets: Any) -> None:
    secrets.create_secret(Name="prod/bytes", SecretBinary=KEY.encode())
    secrets.create_secret(Name="prod/line", SecretString=f"{KEY}\n")
    for name, code in (
        ("prod/gone", "ResourceNotFoundException"),
        ("prod/bytes", "not_text"),
        ("prod/line", "malformed"),
    ):
        with pytest.raises(SourceFailed, match=name) as raised:
            await source(name).read()
        assert raised.value.code == code
        assert "canary" not in str(raised.value)


async def test_a_server_that_is_away_is_told(secrets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SourceFailed) as raised:
        await source("of-these-tests/openai").read()
    assert raised.value.code == "EndpointConnectionError"
