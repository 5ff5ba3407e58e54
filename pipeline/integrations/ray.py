"""Embedding with Ray Data: a backlog of files and texts on many machines, away from the database.

    pipeline space export photos pending/ --pending         # beside the database
    python -c "from pipeline.integrations.ray import run; run('pending/', 'answers/')"
    pipeline space import photos answers/                   # beside the database again

Each actor opens the space's own model, proves it by the space's probes, and loads and decodes as a
worker does. Every row becomes an answer: its vectors, or the code of why there are none. What was
interrupted goes on with the files that have no answers yet.

:func:`run` wants folders that all machines see. Elsewhere :func:`embed` is one step of a dataset,
between whatever Ray reads the rows from and writes the answers to.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigurationError, MissingExtra
from pipeline.ingest.offline import OfflineEmbedder
from pipeline.jobs import ClaimedJob
from pipeline.settings import Settings
from pipeline.spaces.portable import PortableSpace
from pipeline.transfer.answer_files import answer_schema, failed_row, finished_row
from pipeline.transfer.pending import space_of_pending
from pipeline.transfer.readers import open_parquet, pyarrow_parquet

if TYPE_CHECKING:
    import pyarrow
    from ray.data import Dataset

# Rows that an actor takes at a time; their prepared content is in memory together.
BATCH_SIZE = 256


def run(
    pending: str | Path,
    answers: str | Path,
    *,
    settings: Settings | None = None,
    actors: int = 1,
    batch_size: int = BATCH_SIZE,
    **map_options: Any,
) -> int:
    """Embed the files of rows that have no file of answers yet; returns how many rows those had.

    A file of answers is called as that of its rows, and appears whole or not at all.

    Args:
        pending: the folder that ``pipeline space export NAME FOLDER --pending`` wrote.
        answers: a folder, which may have answers of an earlier run in it.
        settings: how content is loaded and decoded; None: each machine's environment says.
        actors: each with a model of its own.
        batch_size: rows that an actor takes at a time.
        map_options: for ``Dataset.map_batches``, such as ``num_gpus=1`` or ``num_cpus=8``.

    Raises:
        ConfigurationError: the folder holds no rows that wait.
        MissingExtra: Ray is not installed.
    """
    into = Path(answers).resolve()
    into.mkdir(parents=True, exist_ok=True)
    left = [file for file in _files(Path(pending)) if not (into / file.name).exists()]
    if not left:
        return 0
    data = _ray_data()
    given = {
        "space": read_space(pending).to_json(),
        "settings": settings,
        "into": str(into),
        "batch_size": batch_size,
    }
    # Not by Ray's own reader: the task that lists files wants a processor, and where the actors
    # have them all, both would wait for ever.
    done = data.from_items(
        [{"file": str(file)} for file in left], override_num_blocks=len(left)
    ).map_batches(
        _FileActor,
        fn_constructor_kwargs=given,
        batch_size=1,
        compute=data.ActorPoolStrategy(size=min(actors, len(left))),
        **map_options,
    )
    return sum(row["rows"] for row in done.take_all())


def read_space(pending: str | Path) -> PortableSpace:
    """The space that the rows of a folder wait for.

    Raises:
        ConfigurationError: it holds no rows that wait.
    """
    return space_of_pending(_files(Path(pending))[0])


def embed(
    rows: "Dataset",
    space: PortableSpace,
    *,
    settings: Settings | None = None,
    batch_size: int = BATCH_SIZE,
    **map_options: Any,
) -> "Dataset":
    """The answers for rows that wait: a row each, of the columns of ``answer_schema()``.

    Args:
        rows: with ``source_id``, ``version``, ``modality`` and ``content_ref``.
        space: :func:`read_space`, or ``PortableSpace.of(connection, space)``.
        settings: how content is loaded and decoded; None: each machine's environment says.
        batch_size: rows that an actor takes at a time.
        map_options: for ``Dataset.map_batches``; ``compute=ray.data.ActorPoolStrategy(size=4)``
            makes four actors, ``num_gpus=1`` gives each a GPU. Leave processors for the tasks that
            read and write.
    """
    if "compute" not in map_options and "concurrency" not in map_options:
        map_options["compute"] = _ray_data().ActorPoolStrategy(size=1)
    return rows.map_batches(
        _Actor,
        fn_constructor_kwargs={"space": space.to_json(), "settings": settings},
        batch_size=batch_size,
        batch_format="pyarrow",
        **map_options,
    )


class _Actor:
    """One model on one machine, for as long as there are rows."""

    def __init__(self, space: dict[str, Any], settings: Settings | None) -> None:
        own = PortableSpace.from_json(space)
        self._space = own.space
        self.schema = answer_schema(own.space.dimensions)
        self._embedder = OfflineEmbedder.of(own, settings or Settings.load())

    def __call__(self, table: "pyarrow.Table") -> "pyarrow.Table":
        import pyarrow

        columns = ("source_id", "version", "modality", "content_ref")
        jobs = [
            ClaimedJob(self._space.id, source_id, version, 1, modality, content_ref, "{}")
            for source_id, version, modality, content_ref in zip(
                *(table.column(name).to_pylist() for name in columns), strict=True
            )
        ]
        done, fingerprint = self._embedder.embed(jobs), self._space.fingerprint
        rows = [finished_row(fingerprint, finished) for finished in done.finished]
        rows += [failed_row(fingerprint, job, error) for job, error in done.failures]
        return pyarrow.Table.from_pylist(rows, schema=self.schema)


class _FileActor:
    """The same for whole files, whose answers it writes."""

    def __init__(
        self, space: dict[str, Any], settings: Settings | None, into: str, batch_size: int
    ) -> None:
        self._actor = _Actor(space, settings)
        self._into = Path(into)
        self._batch_size = batch_size

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"rows": [self._answer(Path(str(file))) for file in batch["file"]]}

    def _answer(self, file: Path) -> int:
        parquet, count = pyarrow_parquet(), 0
        path = self._into / file.name
        partial = path.with_suffix(".partial")
        with parquet.ParquetWriter(partial, self._actor.schema, compression="zstd") as writer:
            for rows in open_parquet(file).iter_batches(batch_size=self._batch_size):
                writer.write_table(self._actor(rows))
                count += rows.num_rows
        partial.replace(path)
        return count


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.resolve().glob("*.parquet")) if folder.is_dir() else []
    if not found:
        raise ConfigurationError(
            f"{folder} is no folder with rows that wait in it; write one with "
            "`pipeline space export NAME FOLDER --pending`"
        )
    return found


def _ray_data() -> Any:
    try:
        import ray.data
    except ImportError as exc:
        raise MissingExtra("Ray", "ray") from exc
    return ray.data
