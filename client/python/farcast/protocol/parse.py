"""Text from the wire to messages, or a `ProtocolError` that a person can act on."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..errors import ProtocolError
from . import limits
from .client import ClientMessage
from .http import SessionRequest
from .server import Error, PromptRejected, ServerMessage

_client: TypeAdapter[ClientMessage] = TypeAdapter(ClientMessage)
_server: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)
Body = TypeVar("Body", bound=BaseModel)
_CLIENT_TYPES = ("prompt", "dial", "pause", "resume", "rewind", "stop", "ping")


def parse_client(text: str | bytes) -> ClientMessage:
    """One client message. Raises ProtocolError with `re` = its id where that could be read."""
    data = _object(text)
    given = data.get("id")
    message_id = given if isinstance(given, str) and 1 <= len(given) <= limits.ID_CHARS else None
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in _CLIENT_TYPES:
        raise ProtocolError(
            f"Unknown message type {_short(kind)}. Use one of: {', '.join(_CLIENT_TYPES)}.",
            code="unknown_type",
            re=message_id,
        )
    try:
        return _client.validate_python(data)
    except ValidationError as error:
        sent = data.get("text") if kind == "prompt" else None
        clip = sent[: limits.PROMPT_CHARS] if isinstance(sent, str) else ""
        text_shown = clip.encode("utf-8", "replace").decode()
        raise ProtocolError(explain(error), re=message_id, kind=kind, text=text_shown) from None


def parse_server(text: str | bytes) -> ServerMessage:
    """One server message. Raises ProtocolError for what this version of the client does not know."""
    try:
        return _server.validate_python(_object(text))
    except ValidationError as error:
        raise ProtocolError(f"The server sent a message this client cannot read: {explain(error)}") from None


def parse_request(text: str | bytes) -> SessionRequest:
    """The body of POST /v1/sessions (or its `request` part)."""
    return parse_body(SessionRequest, text)


def checked(kind: type[Body], **values: Any) -> Body:
    """Build a message, or raise ProtocolError with the sentence the server would have answered."""
    try:
        return kind(**values)
    except ValidationError as error:
        raise ProtocolError(explain(error)) from None


def parse_body(kind: type[Body], text: str | bytes) -> Body:
    """The JSON body of a request. Raises ProtocolError with a sentence."""
    try:
        return kind.model_validate(_object(text))
    except ValidationError as error:
        raise ProtocolError(explain(error)) from None


def refusal(error: ProtocolError) -> PromptRejected | Error:
    """The answer to a client message that could not be taken; the session goes on."""
    if error.kind == "prompt" and error.re is not None:
        return PromptRejected(re=error.re, text=error.text, code=error.code, message=error.message)
    return Error(re=error.re, code=error.code, message=error.message, fatal=False)


def explain(error: ValidationError) -> str:
    """The first problem of a pydantic error as one sentence."""
    first = error.errors(include_url=False, include_context=False, include_input=True)[0]
    path = [str(part) for part in first["loc"] if part not in _CLIENT_TYPES or len(first["loc"]) == 1]
    name = ".".join(path) or "message"
    match first["type"]:
        case "invalid":
            return first["msg"]
        case "missing":
            return f"`{name}` is missing."
        case "extra_forbidden":
            return f"`{name}` is not a known field. Remove it."
        case _:
            return f"`{name}`: {first['msg']} (got {_short(first['input'])})."


def _object(text: str | bytes) -> dict[str, Any]:
    """A JSON object of bounded size. NaN and Infinity are not JSON."""
    if len(text) > limits.MESSAGE_BYTES:
        raise ProtocolError(f"The message is over {limits.MESSAGE_BYTES // 1024} KiB. Send a shorter one.")
    try:
        data = json.loads(text, parse_constant=_not_json)
        if "\\u" in text if isinstance(text, str) else b"\\u" in text:
            json.dumps(data, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except (ValueError, RecursionError):
        raise ProtocolError("The message is not valid JSON.", code="bad_json") from None
    if not isinstance(data, dict):
        raise ProtocolError("The message must be a JSON object.", code="bad_json")
    return data


def _not_json(name: str) -> float:
    raise ValueError(name)


def _short(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
