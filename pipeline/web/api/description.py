"""The API as OpenAPI 3.1 describes it."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from pipeline.search.results import RANKINGS
from pipeline.version import __version__
from pipeline.web.api import answers
from pipeline.web.api.comparison import Comparison
from pipeline.web.asked import MOST_TERMS, PAGE
from pipeline.web.comparing import MOST_QUERIES

MOST_LIMIT = 100

_TEXT = {"type": "string"}
_MANY = {"type": "array", "items": _TEXT}
# As in the URL of the search page.
_SEARCH = (
    ("q", "A text to search by.", _TEXT),
    ("item", "The number of an item to search by.", {"type": "integer", "minimum": 0}),
    ("file", "The name of a file that was sent to /files before.", _TEXT),
    ("term", f"Another term: a text, or item:42; {MOST_TERMS} in all.", _MANY),
    ("weight", "Of each such term, from -100 to 100.", _MANY),
    ("modality", "Only these.", _MANY),
    ("ranking", "How modalities are put into one order.", {**_TEXT, "enum": list(RANKINGS)}),
    ("filter", "A JSON object that metadata has to contain.", _TEXT),
    ("source", "The name of an attached source.", _TEXT),
    ("after", "What the answer before said, for the rows that follow.", _TEXT),
    (
        "limit",
        "How many rows.",
        {"type": "integer", "minimum": 1, "maximum": MOST_LIMIT, "default": PAGE},
    ),
)
_OF = {
    "name": "of",
    "in": "query",
    "description": "Its source item; where there is no such item any more, the answer says which "
    "that one has now.",
    "schema": {"type": "integer"},
}
_COMPARISON: tuple[dict[str, Any], ...] = (
    {
        "name": "q",
        "in": "query",
        "description": f"Texts to search both by, one a line, {MOST_QUERIES} at most. It needs "
        "--allow-writes.",
        "schema": _TEXT,
    },
    {"name": "modality", "in": "query", "description": "Of the items compared.", "schema": _TEXT},
)
_REFUSALS = {
    "400": "What is asked for cannot be.",
    "401": "The token is missing.",
    "404": "There is no such thing.",
    "503": "It cannot be answered now.",
}


@cache
def description() -> dict[str, Any]:
    """The whole of it."""
    models = (answers.Search, answers.Item, answers.Spaces, answers.Jobs, Comparison, answers.Error)
    _, schemas = models_json_schema(
        [(model, "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
    )
    search = [
        {"name": name, "in": "query", "description": said, "schema": schema}
        for name, said, schema in _SEARCH
    ]
    number = {"name": "item", "in": "path", "required": True, "schema": {"type": "integer"}}
    named = {"name": "space", "in": "path", "required": True, "schema": _TEXT}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cross-modal search",
            "version": __version__,
            "description": "What the pages of `pipeline web` show. It only reads.",
        },
        "paths": {
            "/api/search": _get("search", "Items near to a text, an item, a file or a blend; "
                                "the newest, where nothing is searched for.", "Search", search),
            "/api/items/{item}": _get("item", "One item.", "Item", [number, _OF]),
            "/api/spaces": _get("spaces", "Every embedding space.", "Spaces"),
            "/api/spaces/{space}/compare": _get("compare", "A space beside the active one.",
                                                "Comparison", [named, *_COMPARISON]),
            "/api/jobs": _get("jobs", "What waits, runs and failed.", "Jobs"),
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }  # fmt: skip


def _get(
    name: str, said: str, model: str, parameters: Iterable[dict[str, Any]] = ()
) -> dict[str, Any]:
    """One path."""
    refusals = {
        code: {"description": words, "content": _json("Error")} for code, words in _REFUSALS.items()
    }
    return {
        "get": {
            "operationId": name,
            "summary": said,
            "parameters": list(parameters),
            "responses": {
                "200": {"description": "What there is.", "content": _json(model)},
                **refusals,
            },
        }
    }


def _json(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}
