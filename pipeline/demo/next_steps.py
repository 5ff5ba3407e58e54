"""How to go on after the demonstration: lines to copy, the change of the model first."""

import shlex
from pathlib import Path
from textwrap import indent

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.postgres.urls import libpq_url
from pipeline.settings import DEFAULT_MODEL

# By containment, which the index on metadata serves; metadata->>'name' would read every row.
NEAREST_IMAGES = """\
SELECT metadata->>'name' AS name, content_ref
FROM multimodal_items WHERE modality = 'image'
ORDER BY embedding <=> (SELECT embedding FROM multimodal_items
                        WHERE modality = 'text' AND metadata @> '{"name": "pizza"}')
LIMIT 10;"""

_TEXT = """
How to go on

Photographs need another model first: this small one knows drawings only. Either a new database,
whose model is then {model}:

  {elsewhere}
  {command} migrate
  {command} add your/images --text "your text" && {command} ingest

(where images and texts are in a table of yours, {command} attach follows it), or a space of
another model in this one, which embeds the drawings too:

  {command} space create photos --model {model}
  {command} space build photos && {command} space activate photos

More of the drawings; the first shows pages to search them in a browser:

  {command} web
  {command} search "bicycle" --modality image
  {command} search "a slice of pizza"

In psql, which `{command} db psql` opens on this database, as does

  {psql}

    SELECT modality, count(*) FROM multimodal_items GROUP BY modality;

    -- the images nearest to a stored text, by the index
{nearest}

    -- both modalities, calibrated across the modality gap
    SELECT rank, modality, metadata->>'name' AS name, score
    FROM search_items(like_item => (SELECT min(id) FROM multimodal_items), k => 10);
"""


def next_steps(command: str, url: str, embedded_home: Path | None) -> str:
    """The text.

    Args:
        command: how the person calls ``pipeline``.
        url: the database in use.
        embedded_home: the folder of the embedded PostgreSQL; None where another one is in use.
    """
    if embedded_home is None:
        elsewhere = "export DATABASE_URL=postgresql://USER@HOST/A_NEW_DATABASE"
    else:
        folder = embedded_home.with_name(f"{embedded_home.name}-photos")
        elsewhere = f"export PIPELINE_HOME={shlex.quote(str(folder))}"
    return _TEXT.format(
        command=command,
        elsewhere=elsewhere,
        model=DEFAULT_MODEL,
        psql=psql_line(url),
        nearest=indent(NEAREST_IMAGES, "    "),
    )


def psql_line(url: str) -> str:
    """The command line that connects any psql to the database; a password is asked for there."""
    values = conninfo_to_dict(libpq_url(url))
    values.pop("password", None)  # every user could read it on the command line
    return shlex.join(["psql", make_conninfo("", **values)])
