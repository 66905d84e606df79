"""One answer in the terminal: asked for, shown while it comes, and told how it ended."""

from __future__ import annotations

import enum
from collections.abc import Callable

from stanchion.cli.conversation import Conversation
from stanchion.cli.screen import Screen, harmless
from stanchion.cli.words import Words
from stanchion.client.answers import ChatReply
from stanchion.client.sync_client import Client, SyncStream
from stanchion.core.errors import Cut, StanchionError, UpstreamError

Tell = Callable[[str, str], None]  # a line and its style
_SAID_MOST = 300  # characters of the provider's own words


class Outcome(enum.Enum):
    """How an answer ended."""

    COMPLETE = "complete"
    STOPPED = "stopped"  # by the user
    CUT = "cut"  # it began and did not end
    FAILED = "failed"  # nothing of it came


def answer(client: Client, conversation: Conversation, screen: Screen, words: Words, tell: Tell) -> Outcome:
    """Ask for the answer to the last question and show it.  What came of it joins the conversation."""
    stream = client.stream(conversation.messages(), model=conversation.model)
    error: StanchionError | None = None
    outcome = Outcome.COMPLETE
    screen.begin(words.waiting)
    try:
        with stream:
            for delta in stream:
                screen.add(delta.text)
    except KeyboardInterrupt:
        outcome = Outcome.STOPPED
    except StanchionError as caught:
        error = caught
        outcome = Outcome.CUT if stream.text else Outcome.FAILED
    finally:
        screen.end()
    conversation.answer(stream.text)
    if outcome is Outcome.STOPPED:
        tell(words.stopped, "yellow")
    elif error is not None:
        said = words.cut if outcome is Outcome.CUT else words.failed
        tell(said.format(why=in_one_line(error)), "bold red")
    else:
        _tell_limits(stream, words, tell)
        tell(facts(stream, words), "dim")
    return outcome


def _tell_limits(stream: SyncStream[ChatReply], words: Words, tell: Tell) -> None:
    """Say where a provider itself ended an answer early."""
    if stream.finish_reason == "length":
        tell(words.too_long, "yellow")
    elif stream.finish_reason == "content_filter":
        tell(words.filtered, "yellow")


def facts(stream: SyncStream[ChatReply], words: Words) -> str:
    """Write what an answer took: model, tokens, cost, time, attempts."""
    parts = [harmless(stream.model)]
    usage = stream.usage
    if usage is not None:
        tokens = words.tokens.format(
            total=usage.prompt_tokens + usage.completion_tokens,
            asked=usage.prompt_tokens,
            answered=usage.completion_tokens,
        )
        parts.append((words.about if usage.estimated else "") + tokens)
    if stream.cost is not None:
        parts.append(f"${stream.cost:.6f}".rstrip("0").rstrip("."))
    timing = stream.timing
    parts.append(f"{timing.total_s:.1f} s")
    if timing.first_chunk_s is not None:
        parts.append(words.first.format(seconds=timing.first_chunk_s))
    if len(stream.attempts) > 1:
        parts.append(words.attempts.format(count=len(stream.attempts)))
    return " · ".join(parts)


def in_one_line(error: StanchionError) -> str:
    """Write an error in one line, with the provider's own words where it had any."""
    text = str(error)
    if isinstance(error, UpstreamError) and error.endpoint:
        text = f"{error.endpoint}: {text}"
    if isinstance(error, UpstreamError) and error.said and not isinstance(error, Cut):
        said = " ".join(harmless(error.said).split())
        text += f": {said[:_SAID_MOST]}"
    return " ".join(text.split())
