"""Closes some paths and marks the requests that pass."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import matching, request
from wit_world.imports.matching import PatternKind
from wit_world.imports.types import Verdict

# The `[config]` table of {{name}}.toml; operators read these descriptions.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["closed"],
    "properties": {
        "closed": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Globs over the path. Who asks for one of these gets 403.",
        },
    },
}

closed: int


class Lifecycle(exports.Lifecycle):
    def describe(self) -> list[tuple[str, str]]:
        return [
            ("name", "{{name}}"),
            ("version", "0.1.0"),
            ("description", "Closes some paths and marks the requests that pass"),
            ("config-schema", json.dumps(SCHEMA)),
        ]

    def configure(self, config: str) -> None:
        """`Err` refuses the configuration; the key at fault stands before the first colon."""
        global closed
        settings = json.loads(config)
        for key in settings:
            if key not in SCHEMA["properties"]:
                raise Err(f'{key}: there is no such key; write "closed"')
        globs = settings.get("closed")
        if not isinstance(globs, list) or not all(isinstance(glob, str) for glob in globs):
            raise Err('closed: write a list of globs, such as ["/internal/**"]')
        try:
            closed = matching.path_patterns(PatternKind.GLOB, globs, False)
        except Err as error:
            raise Err(f"closed{error.value}") from None  # it begins with the index: `[1]: …`


class RequestPhase(exports.RequestPhase):
    def on_request(self) -> Verdict:
        if matching.match_path(closed) is not None:
            request.respond(403, [("content-type", "text/plain; charset=utf-8")], "closed\n")
            return Verdict.RESPOND
        request.set_header("x-checked-by", "{{name}}")
        return Verdict.NEXT
