"""What can be set about keys: where each comes from, and how often what is looked at."""

from __future__ import annotations

import msgspec


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a provider: exactly one of `env`, `file`, `exec` and `aws` says where it is."""

    name: str = (
        ""  # how it is called here; else the variable's, the file's, the program's or the secret's name
    )
    env: str = ""  # an environment variable; with _FILE at its end, one that names a file
    file: str = ""  # a file; read anew when it changes
    exec: tuple[str, ...] = ()  # a program and its arguments, which prints the key as JSON
    exec_env: tuple[
        str, ...
    ] = ()  # the environment variables that it may see beside PATH, HOME and the locale
    aws: str = ""  # the name or ARN of a secret in AWS Secrets Manager
    aws_field: str = ""  # which field of it, where it is JSON
    aws_region: str = ""  # else as AWS's own settings say
    organization: str = ""  # to whom it is billed; else learned from the provider's answers
    project: str = ""
    weight: float = 1.0  # its share of the load beside the provider's other keys


class KeysOptions(msgspec.Struct, frozen=True):
    """How keys are looked after."""

    reread_s: float = 10.0  # seconds between two looks into a key's file
    fetch_s: float = (
        300.0  # seconds between two runs of a program, or questions to AWS; sooner if a key expires
    )
    exec_timeout_s: float = 10.0  # seconds a program may take
    probe_s: float = 300.0  # seconds after which a refused key is tried again; doubles
    probe_most_s: float = 900.0  # seconds: the bound of that
