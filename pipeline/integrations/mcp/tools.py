"""The tools. Their docstrings and the words at their arguments are what assistants read."""

import base64
from typing import Annotated, Any, TypeAlias

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent
from pydantic import Field

from pipeline.client import arguments
from pipeline.client.query import Query, query_of
from pipeline.integrations.mcp.answers import Counts, Matches, WholeItem
from pipeline.integrations.mcp.reader import Reader
from pipeline.search.arguments import check_item, check_number
from pipeline.search.results import Ranking
from pipeline.search.retrieve import Wanted

MOST_MATCHES = 50

Modality: TypeAlias = Annotated[
    str | list[str] | None,
    Field(description="Only of this modality or these, such as image or text. Default: of all."),
]
# The bounds are said here and looked at by us, whose sentence says more than pydantic's.
K: TypeAlias = Annotated[
    int, Field(description="How many.", json_schema_extra={"minimum": 1, "maximum": MOST_MATCHES})
]
Filter: TypeAlias = Annotated[
    dict[str, Any] | None,
    Field(description='What the metadata of a match must contain, such as {"colour": "red"}.'),
]
RankedBy: TypeAlias = Annotated[
    Ranking,
    Field(
        description="How matches of several modalities are put into one order: calibrated (fair "
        "to all), raw (by similarity, texts mostly first) or quota (the same number of each)."
    ),
]
Number: TypeAlias = Annotated[int, Field(description="The number of an item, `id` of a match.")]


class Tools:
    """What a client of MCP can call."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def search(
        self,
        text: Annotated[
            str, Field(description="What to look for, in words, such as: a red bicycle")
        ] = "",
        image: Annotated[
            str,
            Field(
                description="Instead of text: an image to look for the like of, as the base64 of "
                "its file or a data: URI. Paths and URLs are not opened."
            ),
        ] = "",
        item: Annotated[
            int | None, Field(description="Instead of text: an item to look for the like of.")
        ] = None,
        modality: Modality = None,
        k: K = 10,
        filter: Filter = None,  # noqa: A002 (search_items() calls it so)
        ranking: RankedBy = "calibrated",
    ) -> Matches:
        """Find images, texts and other items by what they mean or show.

        One model embeds all of them into one space, so a text finds images and an image finds
        texts. Give exactly one of text, image and item. A description of what is to be seen finds
        more than a question does. The best matches come even where nothing fits well: judge by
        what they are, and look at images by the tool item.
        """
        if sum((bool(text.strip()), bool(image), item is not None)) != 1:
            raise ToolError("Give exactly one of text, image and item.")
        of = _wanted(modality, k, filter, ranking)
        data = self._reader.content(image) if image else None
        return self._found(query_of(text or None, data, item, None, None), of)

    def similar(
        self,
        item: Number,
        modality: Modality = None,
        k: K = 10,
        filter: Filter = None,  # noqa: A002
        ranking: RankedBy = "calibrated",
    ) -> Matches:
        """Find the items most like a given one, which is left out itself.

        With modality="image" and an item that is a text, this finds the images that fit the text.
        """
        return self._found(
            query_of(None, None, item, None, None), _wanted(modality, k, filter, ranking)
        )

    def item(
        self,
        item: Number,
        image: Annotated[bool, Field(description="Whether a small image comes with it.")] = True,
    ) -> Annotated[CallToolResult, WholeItem]:
        """Get one item: a text itself, or where an image or another file is, and its metadata.

        Of an image, a moment of a film or a page of a document a small image comes with it.
        """
        found = self._reader.item(check_item(item), with_image=image)
        if found is None:
            raise ToolError(f"There is no item {item}: it has gone, or you may not see it.")
        whole, small = found
        content: list[ContentBlock] = [TextContent(text=whole.model_dump_json(indent=2))]
        if small is not None:
            data = base64.b64encode(small).decode()
            content.append(ImageContent(data=data, mime_type="image/webp"))
        return CallToolResult(content=content, structured_content=whole.model_dump(mode="json"))

    def counts(self) -> Counts:
        """Say what there is to search: modalities and how many items of each, embedding spaces and
        their models, and how much waits to be embedded."""
        return self._reader.counts()

    def _found(self, query: Query, of: Wanted) -> Matches:
        return Matches(matches=self._reader.search(query, of))


def _wanted(
    modality: str | list[str] | None, k: int, of: dict[str, Any] | None, ranking: Ranking
) -> Wanted:
    check_number("k", k, 1, MOST_MATCHES)
    return arguments.wanted(modality, k, of, None, ranking, with_embeddings=False)
