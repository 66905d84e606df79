"""What the terminal chat says, in English and in Chinese, after the locale."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """Every sentence.  Those with {} are filled in by name."""

    greeting: str
    simulated: str
    help: str
    you: str
    more: str
    waiting: str
    fresh: str
    model_now: str
    models: str
    no_models: str
    saved: str
    nothing_to_save: str
    unknown: str
    to_end: str
    stopped: str
    cut: str
    too_long: str
    filtered: str
    failed: str
    empty: str
    tokens: str
    about: str
    first: str
    attempts: str
    user: str
    assistant: str


ENGLISH = Words(
    greeting="Talking to {model} through {providers}. /help lists the commands, Ctrl-D ends.",
    simulated=(
        "No provider is configured: the built-in simulator answers, and it only pretends to think. "
        "Set OPENAI_API_KEY, or write a stanchion.toml (stanchion config init), for a real model."
    ),
    help=(
        "/new            forget the conversation and begin another\n"
        "/model [NAME]   show the models, or take another\n"
        "/save [FILE]    write the conversation to a file, .md or .json\n"
        "/quit           end; so does Ctrl-D\n"
        "\\ at the end    the message goes on in the next line\n"
        "//              a message that begins with / begins with two\n"
        "Ctrl-C          stop the answer"
    ),
    you="you",
    more="...",
    waiting="waiting for the answer ...",
    fresh="A new conversation.",
    model_now="The model is {model}.",
    models="The providers offer: {names}",
    no_models="The providers list no models.",
    saved="Written to {file}.",
    nothing_to_save="There is nothing to save yet.",
    unknown="There is no command {name}; {hint}/help lists them.",
    to_end="/quit or Ctrl-D ends.",
    stopped="stopped",
    cut="THE ANSWER WAS CUT HERE: {why}",
    too_long="the answer reached its length limit and is not complete",
    filtered="the provider's content filter ended the answer",
    failed="No answer: {why}",
    empty="there is no question: give one as an argument, or on standard input",
    tokens="{total} tokens ({asked} + {answered})",
    about="about ",
    first="first word after {seconds:.1f} s",
    attempts="{count} attempts",
    user="You",
    assistant="Assistant",
)

CHINESE = Words(
    greeting="正在与 {model} 对话（经由 {providers}）。输入 /help 查看命令，Ctrl-D 结束。",
    simulated=(
        "没有配置任何提供商：由内置模拟器作答，它只是假装在思考。"
        "要使用真实模型，请设置 OPENAI_API_KEY，或编写 stanchion.toml（stanchion config init）。"
    ),
    help=(
        "/new            忘掉当前对话，重新开始\n"
        "/model [名称]   查看可用模型，或换一个模型\n"
        "/save [文件]    把对话保存为 .md 或 .json 文件\n"
        "/quit           结束；Ctrl-D 也可以\n"
        "行尾的 \\        消息在下一行继续\n"
        "//              以 / 开头的消息请写两个 /\n"
        "Ctrl-C          停止当前回答"
    ),
    you="你",
    more="…",
    waiting="正在等待回答……",
    fresh="已开始新的对话。",
    model_now="当前模型是 {model}。",
    models="提供商提供的模型：{names}",
    no_models="提供商没有列出任何模型。",
    saved="已写入 {file}。",
    nothing_to_save="还没有可保存的内容。",
    unknown="没有命令 {name}；{hint}输入 /help 查看全部命令。",
    to_end="输入 /quit 或按 Ctrl-D 结束。",
    stopped="已停止",
    cut="回答在此处被截断：{why}",
    too_long="回答达到长度上限，并不完整",
    filtered="提供商的内容过滤器终止了回答",
    failed="没有得到回答：{why}",
    empty="没有问题：请作为参数给出，或从标准输入传入",
    tokens="{total} 个 token（{asked} + {answered}）",
    about="约 ",
    first="{seconds:.1f} 秒后出现第一个字",
    attempts="尝试 {count} 次",
    user="用户",
    assistant="助手",
)


def words_for(environ: Mapping[str, str]) -> Words:
    """Return the words of the locale: the first of LC_ALL, LC_MESSAGES, LANG that is set decides."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return CHINESE if environ[name].lower().startswith("zh") else ENGLISH
    return ENGLISH
