"""What errors say, and that they arrive whole from another process."""

import pickle

from pipeline.errors import MissingExtra


def test_a_missing_extra_says_what_to_install_or_to_do_instead() -> None:
    for error, said in (
        (
            MissingExtra("Parquet", "parquet"),
            "Parquet needs an optional part: pip install 'pgvector-crossmodal-pipeline[parquet]'",
        ),
        (
            MissingExtra("psql", "server", "install another"),
            "psql needs an optional part: pip install 'pgvector-crossmodal-pipeline[server]', "
            "or install another",
        ),
    ):
        assert str(error) == str(pickle.loads(pickle.dumps(error))) == said
