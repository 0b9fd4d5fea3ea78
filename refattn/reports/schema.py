"""Checks a decoded JSON document against a JSON Schema; it supports only the keywords that refattn's schema uses."""

from __future__ import annotations

from typing import Any

from refattn.errors import InvalidValue

Schema = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def check(document: Any, schema: Schema, where: str = "report") -> None:
    """Raises InvalidValue, naming the place in the document, unless the document satisfies the schema."""
    if "anyOf" in schema and not any(_accepts(document, choice) for choice in schema["anyOf"]):
        check(document, schema["anyOf"][-1], where)
    if "enum" in schema and document not in schema["enum"]:
        raise InvalidValue(f"{where} is {document!r}: expected one of {', '.join(map(repr, schema['enum']))}")
    if "type" in schema and not _is_of_type(document, schema["type"]):
        raise InvalidValue(f"{where} is {_kind(document)}: expected {schema['type']}")
    if isinstance(document, dict):
        _object(document, schema, where)
    if isinstance(document, list) and "items" in schema:
        for number, item in enumerate(document):
            check(item, schema["items"], f"{where}[{number}]")


def _accepts(document: Any, schema: Schema) -> bool:
    try:
        check(document, schema)
    except InvalidValue:
        return False
    return True


def _object(document: dict[str, Any], schema: Schema, where: str) -> None:
    for name in schema.get("required", ()):
        if name not in document:
            raise InvalidValue(f"{where} has no {name!r}: expected one")
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, value in document.items():
        if name in known:
            check(value, known[name], f"{where}.{name}")
        elif others is False:
            raise InvalidValue(f"{where} has {name!r}: expected only {', '.join(known)}")
        elif isinstance(others, dict):
            check(value, others, f"{where}.{name}")


def _is_of_type(document: Any, name: str) -> bool:
    if isinstance(document, bool):
        return name == "boolean"
    return isinstance(document, _TYPES[name])


def _kind(document: Any) -> str:
    return next(name for name in ("boolean", "integer", *_TYPES) if _is_of_type(document, name))
