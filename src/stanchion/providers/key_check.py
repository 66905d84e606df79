"""Ask a provider whether it knows a key, by its list of models: that costs nothing."""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from stanchion.core.call import Patience
from stanchion.core.clock import Clock
from stanchion.core.errors import DeadlineExceeded, UpstreamError
from stanchion.core.secret import Secret
from stanchion.keys.checked import Checked
from stanchion.providers.http import HttpClient, prepared
from stanchion.providers.http_answer import Limits
from stanchion.providers.openai import key_header
from stanchion.providers.presets import Preset
from stanchion.rules.refusals import PERMANENT
from stanchion.wire.errors import read_error

_MOST_S = 10.0


async def check_key(
    http: HttpClient, clock: Clock, preset: Preset, secret: Secret, headers: Mapping[str, str]
) -> Checked:
    """Ask.  A provider that has no list, or does not show it to this key, knew the key: that is well too."""
    deadline = clock.now() + _MOST_S
    patience = Patience(connect_s=5.0, first_token_s=_MOST_S, stall_s=_MOST_S, total_s=_MOST_S)
    sent = prepared({**headers, **key_header(preset, secret)})
    try:
        answer = await http.open(
            "GET", URL(f"{preset.base_url}/models"), sent, None, Limits(patience, deadline, stream=False)
        )
    except (UpstreamError, DeadlineExceeded) as error:
        return Checked("unreachable", error.code or type(error).__name__)
    body = answer.body.replace(secret.reveal().encode(), b"[key]")  # some repeat it
    facts = read_error(body) if answer.status >= 400 else None
    code = (facts.code or facts.type) if facts is not None else None
    if code in PERMANENT or answer.status in (401, 402):
        return Checked("refused", code or f"status_{answer.status}")
    if answer.status >= 500 or answer.status in (408, 429) or 300 <= answer.status < 400:
        return Checked("unreachable", code or f"status_{answer.status}")
    billed = tuple(
        (name, answer.headers[name])
        for name in ("openai-organization", "openai-project")
        if name in answer.headers
    )
    return Checked("ok", headers=billed)
