"""What to do about a row that failed, in one sentence, by the code or the status of its failure."""

from __future__ import annotations

from stanchion.batch.answers import Problem

_BY_CODE = {
    "invalid_json": "Mend the line in the input and run the same command again: only this row is asked.",
    "invalid_row": "Mend the row in the input and run the same command again: only this row is asked.",
    "invalid_csv": "Mend the record in the table and run the same command again: only this row is asked.",
    "invalid_id": "Give the row a value in the field that names rows, or name rows by another with --id-field.",
    "template_mismatch": "Add the column to the row, or let the template do without: {{ name|default('') }}.",
    "schema_mismatch": "Look at the answer in `response`; loosen the schema, ask another model, or --retry-failed.",
    "context_length_exceeded": "Shorten the row, or ask a model with a longer context.",
    "content_filter": "The provider's filter refused the row: change its text, or ask another provider.",
    "content_policy_violation": "The provider's filter refused the row: change its text, or ask another provider.",
    "model_not_found": "Name a model that the provider serves, with --model or in the row's body.",
    "insufficient_quota": "The account has no money left: pay in, then run with --retry-failed.",
    "budget_exceeded": "A budget of the settings is used up: raise it or wait, then run with --retry-failed.",
    "price_unknown": "Write the model's price under [prices] in the settings, or take --price-as.",
    "invalid_api_key": "The key is refused: `stanchion keys verify` tells which; then run with --retry-failed.",
    "deadline_exceeded": "The provider was too slow: run with --retry-failed, at a calmer hour perhaps.",
    "rate_limit_exceeded": "The quota was used by others: run with --retry-failed.",
}
_BY_STATUS = {
    400: "The provider says that the request is wrong: read its message, mend the row, and run again.",
    401: "The key is refused: `stanchion keys verify` tells which; then run with --retry-failed.",
    403: "The key may not do this: ask its owner, or take another provider; then run with --retry-failed.",
    404: "Name a model that the provider serves, with --model or in the row's body.",
    413: "The row is too large for the provider: shorten it.",
    422: "The provider says that the request is wrong: read its message, mend the row, and run again.",
    429: "The quota was used by others: run with --retry-failed.",
}
_PASSES = "This may pass by itself: run with --retry-failed."
_OTHERWISE = "Read the message; then mend the row, or run with --retry-failed."


def advice_for(status: int, problem: Problem) -> str:
    """Return what to do."""
    found = _BY_CODE.get(problem.code) or _BY_STATUS.get(status)
    return found or (_PASSES if status == 0 or status >= 500 else _OTHERWISE)
