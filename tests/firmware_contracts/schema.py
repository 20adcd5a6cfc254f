"""A small JSON Schema reader: just the keywords that the OwnTracks schemas use, for an oracle."""

import json
import re
from pathlib import Path
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
# What says nothing about validity, the schema's own two made-up words among them.
ANNOTATIONS = {
    "$schema", "$id", "$comment", "$defs", "title", "description", "units", "contentEncoding",
    "contentMediaType", "dontknowif", "dontnowthen", "then",
}  # fmt: skip


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": is_number,
    "integer": lambda value: is_number(value) and value == int(value),
    "boolean": lambda value: isinstance(value, bool),
}


class Schema:
    """One schema file, with the files beside it for its references."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = json.loads(path.read_text())

    def valid(self, value: Any) -> bool:
        return self._valid(self.root, value)

    def _valid(self, schema: dict[str, Any], value: Any) -> bool:
        return all(
            getattr(self, f"_{word.lstrip('$')}")(argument, value, schema)
            for word, argument in schema.items()
            if word not in ANNOTATIONS
        )

    def _ref(self, target: str, value: Any, _: Any) -> bool:
        if not target.startswith("#"):
            return Schema(self.path.parent / target).valid(value)
        at = self.root
        for step in target.removeprefix("#/").split("/"):
            at = at[step]
        return self._valid(at, value)

    def _type(self, name: str, value: Any, _: Any) -> bool:
        return TYPES[name](value)

    def _enum(self, allowed: list[Any], value: Any, _: Any) -> bool:
        return any(type(one) is type(value) and one == value for one in allowed)

    def _const(self, wanted: Any, value: Any, _: Any) -> bool:
        return type(wanted) is type(value) and wanted == value

    def _pattern(self, pattern: str, value: Any, _: Any) -> bool:
        ends = pattern.removesuffix("$") + r"\Z"  # as ECMA 262 has it: no newline behind
        return not isinstance(value, str) or re.search(ends, value) is not None

    def _format(self, name: str, value: Any, _: Any) -> bool:
        assert name == "uuid"
        return not isinstance(value, str) or UUID.fullmatch(value) is not None

    def _minimum(self, low: float, value: Any, _: Any) -> bool:
        return not is_number(value) or value >= low

    def _minLength(self, low: int, value: Any, _: Any) -> bool:  # noqa: N802  (the schema's word)
        return not isinstance(value, str) or len(value) >= low

    def _maxLength(self, high: int, value: Any, _: Any) -> bool:  # noqa: N802  (the schema's word)
        return not isinstance(value, str) or len(value) <= high

    def _required(self, names: list[str], value: Any, _: Any) -> bool:
        return not isinstance(value, dict) or all(name in value for name in names)

    def _properties(self, schemas: dict[str, Any], value: Any, _: Any) -> bool:
        return not isinstance(value, dict) or all(
            self._valid(schema, value[name]) for name, schema in schemas.items() if name in value
        )

    def _items(self, schema: dict[str, Any], value: Any, _: Any) -> bool:
        return not isinstance(value, list) or all(self._valid(schema, one) for one in value)

    def _allOf(self, schemas: list[Any], value: Any, _: Any) -> bool:  # noqa: N802  (the schema's word)
        return all(self._valid(schema, value) for schema in schemas)

    def _oneOf(self, schemas: list[Any], value: Any, _: Any) -> bool:  # noqa: N802  (the schema's word)
        return sum(self._valid(schema, value) for schema in schemas) == 1

    def _if(self, schema: dict[str, Any], value: Any, whole: dict[str, Any]) -> bool:
        return not self._valid(schema, value) or self._valid(whole["then"], value)
