"""The description of the HTTP interface (OpenAPI 3.1), generated from its table of endpoints."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from quorate_server.commands import MAX_KEY_CHARACTERS, AnySpec
from quorate_server.http_models import Problem
from quorate_server.users import User

_REFERENCE = "#/components/schemas/{model}"


TEXT: Mapping[str, object] = {"type": "string", "maxLength": 256}
BASE64URL: Mapping[str, object] = {
    "type": "string",
    "contentEncoding": "base64url",
    "description": "An encoded state vector",
}
BOOLEAN: Mapping[str, object] = {"type": "string", "enum": ["true", "false"]}
POSITION: Mapping[str, object] = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
PAGE_SIZE: Mapping[str, object] = {"type": "integer", "minimum": 1, "maximum": 1000}


def one_of(values: Iterable[str]) -> Mapping[str, object]:
    """Return the schema of one of some texts."""
    return {"type": "string", "enum": list(values)}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the interface: where, who answers, and the shapes that go in and out."""

    method: str
    path: str
    handler: Callable[[Request, User], Awaitable[Response]]
    body: type[BaseModel] | None = None
    is_binary_body: bool = False
    answer: type[BaseModel] | None = None
    media_type: str = "application/octet-stream"
    status: int = 200
    query: Mapping[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])


def describe(
    endpoints: Sequence[Endpoint], commands: Mapping[str, AnySpec], *, version: str = "0.1.0"
) -> dict[str, object]:
    """Return the OpenAPI document of these endpoints, and of each command."""
    models = {m for e in endpoints for m in (e.body, e.answer) if m is not None} | {Problem}
    models |= {model for spec in commands.values() for model in (spec.command, spec.answer)}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REFERENCE)
    paths: dict[str, dict[str, object]] = {}
    for endpoint in endpoints:
        path = endpoint.path.replace(":path", "")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    for name, spec in sorted(commands.items()):
        paths[f"/api/commands/{name}"] = {"post": _command(spec)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Quorate", "version": version},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, object]:
    parameters: list[dict[str, object]] = [
        {"name": name, "in": "query", "schema": schema} for name, schema in endpoint.query.items()
    ]
    if "{name" in endpoint.path:
        text = {"type": "string", "minLength": 1, "maxLength": 256}
        parameters.append({"name": "name", "in": "path", "required": True, "schema": text})
    problem = {"application/problem+json": {"schema": _ref(Problem)}}
    operation: dict[str, object] = {
        "operationId": endpoint.handler.__name__,
        "summary": (inspect.getdoc(endpoint.handler) or "").partition("\n")[0],
        "parameters": parameters,
        "responses": {
            str(endpoint.status): {"description": "Done", **_content(endpoint)},
            "default": {"description": "A problem (RFC 9457)", "content": problem},
        },
    }
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if endpoint.is_binary_body:
        operation["requestBody"] = {"required": True, "content": binary}
    elif endpoint.body is not None:
        schema = {"application/json": {"schema": _ref(endpoint.body)}}
        operation["requestBody"] = {"required": True, "content": schema}
    return operation


def _command(spec: AnySpec) -> dict[str, object]:
    key = {"type": "string", "maxLength": MAX_KEY_CHARACTERS}
    header = {"name": "Idempotency-Key", "in": "header", "schema": key, "description": "Does it once, however often"}
    problem = {"application/problem+json": {"schema": _ref(Problem)}}
    answer = {"application/json": {"schema": _ref(spec.answer)}}
    return {
        "operationId": spec.name,
        "summary": spec.summary,
        "parameters": [header],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(spec.command)}}},
        "responses": {
            "200": {"description": "Done", "content": answer},
            "default": {"description": "A problem (RFC 9457)", "content": problem},
        },
    }


def _content(endpoint: Endpoint) -> dict[str, object]:
    if endpoint.status == 204:  # noqa: PLR2004 - RFC 9110: no content
        return {}
    if endpoint.answer is not None:
        return {"content": {"application/json": {"schema": _ref(endpoint.answer)}}}
    is_text = endpoint.media_type.startswith("text/")
    schema = {"type": "string"} if is_text else {"type": "string", "format": "binary"}
    return {"content": {endpoint.media_type: {"schema": schema}}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
