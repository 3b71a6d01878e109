"""Documents generated from the message types: JSON Schema, and AsyncAPI 3.0 for the control WebSocket."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from . import client, http, score, server

HTTP_BODIES: tuple[type[BaseModel], ...] = (
    http.SessionRequest,
    http.SessionCreated,
    http.SessionInfo,
    http.ImageAccepted,
    http.RenderRequest,
    http.RenderInfo,
    http.ModelInfo,
    score.Score,
    http.Problem,
)


def client_messages() -> tuple[type[BaseModel], ...]:
    """Every type a client may send."""
    return get_args(get_args(client.ClientMessage)[0])


def server_messages() -> tuple[type[BaseModel], ...]:
    """Every type the server may send."""
    return get_args(get_args(server.ServerMessage)[0])


def json_schema() -> dict[str, Any]:
    """One JSON Schema document; `$defs` holds every body and message, `client` and `server` the two unions."""
    unions: dict[str, TypeAdapter[Any]] = {
        "client": TypeAdapter(client.ClientMessage),
        "server": TypeAdapter(server.ServerMessage),
    }
    document: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Farcast wire"}
    defs: dict[str, Any] = {}
    for name, adapter in unions.items():
        schema = adapter.json_schema()
        defs.update(schema.pop("$defs"))
        document[name] = schema
    _, bodies = models_json_schema([(body, "validation") for body in HTTP_BODIES])
    defs.update(bodies["$defs"])
    document["$defs"] = dict(sorted(defs.items()))
    return document


def asyncapi(version: str = "0.1.0") -> dict[str, Any]:
    """The control WebSocket as an AsyncAPI 3.0 document."""
    sent, received = client_messages(), server_messages()
    _, schemas = models_json_schema(
        [(message, "validation") for message in (*sent, *received)], ref_template="#/components/schemas/{model}"
    )
    messages = {
        _wire_name(message): {
            "name": _wire_name(message),
            "title": message.__name__,
            "summary": " ".join((message.__doc__ or "").split()),
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{message.__name__}"},
        }
        for message in (*sent, *received)
    }
    channel = "#/channels/control"

    def operation(action: str, summary: str, types: tuple[type[BaseModel], ...]) -> dict[str, Any]:
        refs = [{"$ref": f"{channel}/messages/{_wire_name(message)}"} for message in types]
        return {"action": action, "channel": {"$ref": channel}, "summary": summary, "messages": refs}

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Farcast control",
            "version": version,
            "license": {"name": "Apache-2.0"},
            "description": "One WebSocket a session. Every client message carries an `id`, every answer `re`: that id. "
            "Updates are latest-wins; the last value always applies.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "control": {
                "address": "/v1/sessions/{id}/control",
                "parameters": {"id": {"description": "The session's id, from POST /v1/sessions."}},
                "bindings": {
                    "ws": {
                        "headers": {
                            "type": "object",
                            "properties": {
                                "Authorization": {"type": "string", "description": "`Bearer TOKEN`, the session's."},
                                "Sec-WebSocket-Protocol": {
                                    "type": "string",
                                    "description": "Where no header can be set: `farcast.v1, token.TOKEN`.",
                                },
                            },
                        }
                    }
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "steer": operation("receive", "What the server takes from a client.", sent),
            "report": operation("send", "What the server tells its clients.", received),
        },
        "components": {"messages": messages, "schemas": schemas["$defs"]},
    }


def _wire_name(message: type[BaseModel]) -> str:
    """The value of the message's `type` field."""
    return str(message.model_fields["type"].default)
