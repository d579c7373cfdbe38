"""The description of the HTTP interface (OpenAPI 3.1), generated from its table of endpoints."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from quorate_server.http_models import Problem
from quorate_server.users import User

_REFERENCE = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the interface: where, who answers, and the shapes that go in and out."""

    method: str
    path: str
    handler: Callable[[Request, User], Awaitable[Response]]
    body: type[BaseModel] | None = None
    is_binary_body: bool = False
    answer: type[BaseModel] | None = None
    status: int = 200
    query: tuple[str, ...] = ()


def describe(endpoints: Sequence[Endpoint], *, version: str = "0.1.0") -> dict[str, object]:
    """Return the OpenAPI document of these endpoints."""
    models = {m for e in endpoints for m in (e.body, e.answer) if m is not None} | {Problem}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REFERENCE)
    paths: dict[str, dict[str, object]] = {}
    for endpoint in endpoints:
        path = endpoint.path.replace(":path", "")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
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
        {"name": name, "in": "query", "schema": {"type": "string"}} for name in endpoint.query
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


def _content(endpoint: Endpoint) -> dict[str, object]:
    if endpoint.status == 204:  # noqa: PLR2004 - RFC 9110: no content
        return {}
    if endpoint.answer is not None:
        return {"content": {"application/json": {"schema": _ref(endpoint.answer)}}}
    return {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
