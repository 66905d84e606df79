"""Error bodies in OpenAI's form, with the texts its API uses where they are known."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

_BILLING = "https://platform.openai.com/docs/guides/error-codes/api-errors"


@dataclass(frozen=True, slots=True)
class _Code:
    status: int
    type: str
    message: str


CODES: dict[str, _Code] = {
    "insufficient_quota": _Code(
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details. For more information on "
        f"this error, read the docs: {_BILLING}.",
    ),
    "billing_not_active": _Code(
        429,
        "billing_not_active",
        "Your account is not active, please check your billing details on our website.",
    ),
    "credit_balance_exhausted": _Code(
        429, "insufficient_quota", "Your credit balance is exhausted. Add credits to continue."
    ),
    "organization_spend_limit_exceeded": _Code(
        429, "insufficient_quota", "Your organization has reached its monthly spend limit."
    ),
    "project_spend_limit_exceeded": _Code(
        429, "insufficient_quota", "This project has reached its monthly spend limit."
    ),
    "organization_usage_limit_exceeded": _Code(
        429, "insufficient_quota", "Your organization has reached its approved usage limit."
    ),
    "billing_hard_limit_reached": _Code(429, "insufficient_quota", "Billing hard limit has been reached."),
    "rate_limit_exceeded": _Code(429, "requests", "Rate limit reached. Please try again later."),
    "resource_unavailable": _Code(
        429, "resource_unavailable", "There is no capacity for the flex tier now. Please try again later."
    ),
    "slow_down": _Code(429, "requests", "Your traffic rose too fast. Slow down and raise it gradually."),
    "invalid_api_key": _Code(401, "invalid_request_error", "Incorrect API key provided."),
    "account_deactivated": _Code(
        401,
        "invalid_request_error",
        "The OpenAI account associated with this API key has been deactivated.",
    ),
    "unsupported_country_region_territory": _Code(
        403, "request_forbidden", "Country, region, or territory not supported"
    ),
    "model_not_found": _Code(
        404, "invalid_request_error", "The model `{model}` does not exist or you do not have access to it."
    ),
    "context_length_exceeded": _Code(
        400,
        "invalid_request_error",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens. "
        "Please reduce the length of the messages.",
    ),
    "content_filter": _Code(
        400,
        "invalid_request_error",
        "The response was filtered due to the prompt triggering our content management policy.",
    ),
    "server_is_overloaded": _Code(
        503, "service_unavailable_error", "Our servers are currently overloaded. Please try again later."
    ),
}

_STATUS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Invalid request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", None, "Payment required."),
    403: ("request_forbidden", None, "You are not allowed to do this."),
    404: ("invalid_request_error", None, "Not found."),
    408: ("server_error", None, "Request timed out."),
    409: ("conflict_error", None, "The resource was changed by another request."),
    413: ("invalid_request_error", None, "The request body is too large."),
    422: ("invalid_request_error", None, "Unprocessable request."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: (
        "server_error",
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    502: ("server_error", None, "Bad gateway."),
    503: (
        "service_unavailable_error",
        "server_is_overloaded",
        "Our servers are currently overloaded. Please try again later.",
    ),
    504: ("server_error", None, "Gateway timeout."),
    529: ("overloaded_error", None, "Overloaded"),
}


class ApiError(Exception):
    """A refusal with everything its HTTP answer needs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # OpenAI's own word
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = error_body(message, type=type, param=param, code=code)


def error_body(message: str, *, type: str, param: str | None = None, code: str | None = None) -> bytes:
    """`{"error": {...}}` as JSON."""
    return msgspec.json.encode({"error": {"message": message, "type": type, "param": param, "code": code}})


def status_error(status: int, *, headers: tuple[tuple[str, str], ...] = ()) -> ApiError:
    """The usual error of a status."""
    kind, code, message = _STATUS.get(status, ("server_error", None, f"Error {status}."))
    return ApiError(status, message, type=kind, code=code, headers=headers)


def code_error(code: str, model: str, *, headers: tuple[tuple[str, str], ...] = ()) -> ApiError:
    """The error of a code in `CODES`."""
    known = CODES[code]
    message = known.message.replace("{model}", model)
    return ApiError(known.status, message, type=known.type, code=code, headers=headers)
