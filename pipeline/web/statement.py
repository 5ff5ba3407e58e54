"""The statement of a search, twice: as it is run, and as whoever runs it in psql may copy it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg import sql

from pipeline.postgres.vector_arrays import pack_vector
from pipeline.vectors import Vectors
from pipeline.web.asked import MOST_ROWS, PAGE, After, Asked, Term

# Of what may be in metadata, the first that is there, as on a contact sheet.
_CARD = sql.SQL(
    """
    SELECT f.rank, f.id, f.source_id, f.part, f.modality, f.similarity, f.score,
        left(f.content_ref, 2000) AS content_ref, octet_length(f.content_ref) AS content_bytes,
        left(coalesce(f.metadata ->> 'caption', f.metadata ->> 'title', f.metadata ->> 'name',
                      f.metadata ->> 'alt'), 300) AS caption,
        left(f.metadata -> '_pipeline' ->> 'width', 9) AS width,
        left(f.metadata -> '_pipeline' ->> 'height', 9) AS height,
        CASE WHEN octet_length((f.metadata -> '_pipeline')::text) <= 4000
             THEN f.metadata -> '_pipeline' END AS notes
    FROM {found} AS f {where}
    ORDER BY f.rank
    """
)
# In the order of search_items(): items of one score by their numbers, of one place by similarity.
_AFTER = sql.SQL(
    "WHERE (-f.score, {similarity}, f.id) > (-%(score)s::real, {last}, %(last_id)s::bigint)"
)
_NEWEST = sql.SQL(
    """
    (SELECT row_number() OVER (ORDER BY n.id DESC)::integer + %(rank)s AS rank, n.*
     FROM (SELECT i.id, i.source_id, i.part, i.modality, i.content_ref, i.metadata,
               NULL::real AS similarity, NULL::real AS score
           FROM multimodal_items AS i
           WHERE i.id < %(before)s AND (%(modality)s::text[] IS NULL
                                        OR i.modality = ANY (%(modality)s))
             AND (%(filter)s::jsonb IS NULL OR i.metadata @> %(filter)s::jsonb)
             AND (%(sources)s::text[] IS NULL OR EXISTS (
                 SELECT FROM source_items AS s
                 WHERE s.id = i.source_id AND s.source = ANY (%(sources)s)))
           ORDER BY i.id DESC LIMIT %(k)s) AS n)
    """
)

_THESE = sql.SQL(
    """
    (SELECT row_number() OVER (ORDER BY i.id DESC)::integer AS rank, i.id, i.source_id, i.part,
         i.modality, i.content_ref, i.metadata, NULL::real AS similarity, NULL::real AS score
     FROM multimodal_items AS i WHERE i.id = ANY (%(ids)s::bigint[]))
    """
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a term leads to. ``vector``: (D,), None of a stored item; ``modality`` if known."""

    term: Term
    vector: Vectors | None = None
    modality: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """The rows of a page.

    Attributes:
        run: to be run with ``values``.
        shown: gives the same rows in psql.
        found: what ``run`` takes its rows of: with id, modality, metadata.
        probe: the vector that items are compared with; None: nothing is searched for.
        asked_for: how many rows there may be, those of the pages before included.
    """

    run: sql.Composed
    values: Mapping[str, Any]
    shown: str
    found: sql.Composable
    probe: sql.Composable | None
    asked_for: int


def of_search(asked: Asked, found: Sequence[Found], rows: int = PAGE) -> Statement:
    """The rows of one page that are nearest to what was found for the terms; at least one."""
    after = asked.after
    k = min(MOST_ROWS, rows + (after.rank if after else 0))
    call = _Call("search_rows" if asked.source else "search_items")
    if asked.source:
        call.add("", asked.source, _literal(asked.source))
    probe = _add_query(call, found)
    if asked.modalities:
        names = ", ".join(map(_literal, asked.modalities))
        call.add("modality", list(asked.modalities), f"ARRAY[{names}]", "text[]")
    call.add("k", k, str(k))
    if asked.filter:
        call.add("filter", asked.filter_text, _literal(asked.filter_text), "jsonb")
    if asked.ranking != "calibrated":
        call.add("ranking", asked.ranking, _literal(asked.ranking))
    where = _beyond(after, asked.ranking, call.values)
    columns = "rank, row_key, id" if asked.source else "rank, id"
    shown = (
        f"SELECT {columns}, modality, similarity, score, content_ref"
        f"\nFROM {call.shown}\nORDER BY rank;"
    )
    run = _CARD.format(found=call.run, where=where)
    return Statement(run, call.values, shown, call.run, probe, k)


def of_newest(asked: Asked, sources: Sequence[str] | None, rows: int = PAGE) -> Statement:
    """A page of the items that came last, where nothing is searched for.

    Args:
        sources: of which they are to be; None: of any.
    """
    after = asked.after
    rank = after.rank if after else 0
    values = {
        "before": after.id if after else 2**63 - 1,
        "rank": rank,
        "modality": list(asked.modalities) or None,
        "filter": asked.filter_text or None,
        "sources": list(sources) if sources is not None else None,
        "k": rows,
    }
    where = [f"id < {after.id}"] if after else []
    if asked.modalities:
        where.append(f"modality IN ({', '.join(map(_literal, asked.modalities))})")
    if asked.filter:
        where.append(f"metadata @> {_literal(asked.filter_text)}")
    if sources is not None:
        names = ", ".join(map(_literal, sources))
        ids = ("SELECT id FROM source_items", f"WHERE source IN ({names})")
        where.append(f"source_id IN ({' '.join(ids)})")
    lines = ["SELECT id, modality, content_ref, metadata", "FROM multimodal_items"]
    lines += [f"WHERE {' AND '.join(where)}"] if where else []
    shown = "\n".join([*lines, f"ORDER BY id DESC LIMIT {rows};"])
    run = _CARD.format(found=_NEWEST, where=sql.SQL(""))
    return Statement(run, values, shown, _NEWEST, None, rank + rows)


def of_items(ids: Sequence[int]) -> Statement:
    """These items, as far as they are there, newest first."""
    numbers = ", ".join(map(str, ids))
    shown = f"SELECT id, modality, content_ref\nFROM multimodal_items\nWHERE id IN ({numbers});"
    run = _CARD.format(found=_THESE, where=sql.SQL(""))
    return Statement(run, {"ids": list(ids)}, shown, _THESE, None, len(ids))


class _Call:
    """A call of one of the search functions, argument by argument."""

    def __init__(self, function: str) -> None:
        self.values: dict[str, Any] = {}
        self._function = function
        self._run: list[sql.Composable] = []
        self._shown: list[str] = []

    def value(self, value: Any, cast: str = "") -> sql.Composable:
        """A placeholder for it."""
        name = f"value{len(self.values)}"
        self.values[name] = value
        placeholder = sql.Placeholder(name)
        return sql.SQL("{}::{}").format(placeholder, sql.SQL(cast)) if cast else placeholder

    def add(self, name: str, value: Any, shown: str, cast: str = "") -> None:
        """An argument that is run with a value; without a name where it is the first."""
        self.add_expression(name, self.value(value, cast), shown)

    def add_expression(
        self, name: str, run: sql.Composable, shown: str, *, named: bool = True
    ) -> None:
        """One that is run as it is given; ``named``: whether it is shown by its name."""
        self._run.append(sql.SQL("{} => {}").format(sql.Identifier(name), run) if name else run)
        self._shown.append(f"{name} => {shown}" if name and named else shown)

    @property
    def run(self) -> sql.Composed:
        """With placeholders."""
        return sql.SQL("{}({})").format(sql.SQL(self._function), sql.SQL(", ").join(self._run))

    @property
    def shown(self) -> str:
        """With constants, an argument a line."""
        between = ",\n" + " " * len(f"FROM {self._function}(")
        return f"{self._function}({between.join(self._shown)})"


def _add_query(call: _Call, found: Sequence[Found]) -> sql.Composable:
    """What is searched for, as arguments; returns its vector."""
    first = found[0]
    run, shown = _vector(call, first)
    if len(found) > 1 or first.term.weight != 1:
        vectors = [(run, shown), *(_vector(call, one) for one in found[1:])]
        weights = [one.term.weight for one in found]
        run = sql.SQL("blend_embeddings(ARRAY[{}], {})").format(
            sql.SQL(", ").join(each for each, _ in vectors), call.value(weights, "real[]")
        )
        said = ", ".join(shown for _, shown in vectors)
        shown = f"blend_embeddings(ARRAY[{said}], ARRAY[{', '.join(f'{w:g}' for w in weights)}])"
        call.add_expression("embedding", run, shown)
    elif first.term.item is not None:
        call.add("like_item", first.term.item, str(first.term.item), "bigint")
    elif first.term.text:
        # The vector is given, so that nobody is asked twice; shown is the text that it is of.
        both = sql.SQL("{}, query_modality => {}").format(run, call.value(first.modality))
        call.add_expression("embedding", both, f"query => {_literal(first.term.text)}", named=False)
    else:
        call.add_expression("embedding", run, shown)
        call.add("query_modality", first.modality, _literal(first.modality or ""))
    return run


def _vector(call: _Call, found: Found) -> tuple[sql.Composable, str]:
    """One term's vector, as it is run and as it is shown."""
    if found.term.item is not None:
        item = call.value(found.term.item, "bigint")
        shown = f"item_embedding({found.term.item})"
        return sql.SQL("item_embedding({})").format(item), shown
    assert found.vector is not None
    run = call.value(pack_vector(found.vector, "halfvec"), "halfvec")
    if found.term.text:
        return run, f"text_embedding({_literal(found.term.text)})"
    # As halfvec rounds it: what stands in SQL is what was compared.
    numbers = ",".join(f"{float(n):.6g}" for n in found.vector.astype(np.float16))
    return run, f"'[{numbers}]'::halfvec"


def _beyond(after: After | None, ranking: str, values: dict[str, Any]) -> sql.Composable:
    if after is None:
        return sql.SQL("")
    values |= {"score": after.score, "similarity": after.similarity, "last_id": after.id}
    by_similarity = ranking == "quota"
    return _AFTER.format(
        similarity=sql.SQL("-f.similarity" if by_similarity else "0"),
        last=sql.SQL("-%(similarity)s::real" if by_similarity else "0"),
    )


def _literal(text: str) -> str:
    """A string constant that every psql reads alike, however backslashes count there."""
    quoted = text.replace("'", "''")
    return "E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'"
