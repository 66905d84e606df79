"""What is known of the providers that speak OpenAI's protocol.  Data, and nothing else.

A preset is a start: each of its fields can be set in the configuration.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class BatchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider's Batch API takes at once, and what it is called there."""

    requests_most: int = 50_000  # in one batch
    file_most_bytes: int = 200 * 1024 * 1024  # of one batch's input
    prefix: str = "/v1"  # what stands before an operation's path in the lines of a file
    price_share: float | None = None  # of the standard price, where the price list knows none of its own


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's address, key, and the ways in which it differs from OpenAI."""

    base_url: str  # with the version, without a slash at the end; "" must be configured
    key_env: str = ""  # the environment variable that usually holds its key; "" needs none
    models: tuple[str, ...] = ()  # patterns of the model names it serves, "*" and "?" as in a shell
    auth: Literal["bearer", "api-key", "none"] = "bearer"  # how the key is sent
    done: bool = True  # its streams end with [DONE]; if not, with a finish_reason and a clean end
    reserves_output: bool = False  # it charges max_tokens before it admits a call
    stream_usage: bool = True  # it understands stream_options.include_usage
    batches: BatchLimits | None = None  # its Batch API, in OpenAI's shapes; None: it has none
    flex: bool = False  # it has a cheaper tier, service_tier "flex"


_MIB = 1024 * 1024
PRESETS: dict[str, Preset] = {
    "openai": Preset(
        base_url="https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        models=(
            "gpt-*",
            "o1*",
            "o3*",
            "o4*",
            "chatgpt-*",
            "text-embedding-*",
            "omni-moderation-*",
            "davinci-*",
        ),
        batches=BatchLimits(),
        flex=True,
    ),
    # https://{resource}.openai.azure.com/openai/v1: the v1 API takes the deployment as `model`
    # its quota counts a prompt and max_tokens when the call comes (Microsoft Learn, "Manage quota")
    "azure": Preset(base_url="", key_env="AZURE_OPENAI_API_KEY", auth="api-key", reserves_output=True),
    "deepseek": Preset(
        base_url="https://api.deepseek.com/v1", key_env="DEEPSEEK_API_KEY", models=("deepseek-*",)
    ),
    "qwen": Preset(
        base_url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        key_env="DASHSCOPE_API_KEY",
        models=("qwen*", "qwq*", "qvq*"),
        batches=BatchLimits(file_most_bytes=100 * _MIB, price_share=0.5),
    ),
    "moonshot": Preset(
        base_url="https://api.moonshot.cn/v1",
        key_env="MOONSHOT_API_KEY",
        models=("moonshot-*", "kimi-*"),
        batches=BatchLimits(file_most_bytes=100 * _MIB),
    ),
    "zhipu": Preset(
        base_url="https://open.bigmodel.cn/api/paas/v4",
        key_env="ZHIPU_API_KEY",
        models=("glm-*",),
        batches=BatchLimits(file_most_bytes=100 * _MIB, prefix="/v4", price_share=0.5),
    ),
    "openrouter": Preset(
        base_url="https://openrouter.ai/api/v1", key_env="OPENROUTER_API_KEY", models=("*/*",)
    ),
    "ollama": Preset(base_url="http://127.0.0.1:11434/v1", auth="none"),
    "vllm": Preset(base_url="http://127.0.0.1:8000/v1", auth="none"),
    "llamacpp": Preset(base_url="http://127.0.0.1:8080/v1", auth="none"),
    "simulator": Preset(
        base_url="http://127.0.0.1:8090/v1", auth="none", batches=BatchLimits(price_share=0.5), flex=True
    ),
    "compatible": Preset(base_url=""),
}
