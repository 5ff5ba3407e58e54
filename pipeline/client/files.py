"""Files that are queries, through the same safe intake as the rows of the source table."""

from pathlib import Path
from typing import Any

from pipeline import modalities
from pipeline.errors import ConfigurationError, RowError
from pipeline.modalities import ReadOptions
from pipeline.references import expanded, redact
from pipeline.settings import Settings


def bytes_of(file: Any, settings: Settings) -> tuple[bytes, str]:
    """The bytes of a query's file, and what to call it.

    Raises:
        ConfigurationError: naming the file and what is wrong with it.
        RowError: opened content that cannot be prepared.
    """
    if isinstance(file, Path):
        return _loaded(file, settings)
    if isinstance(file, (bytes, bytearray)):
        return bytes(file), "the bytes"
    modality = modalities.accepting(file)
    assert modality is not None
    data = modality.to_bytes(modality.decoded(file, ReadOptions.of(settings)))
    if data is None:
        raise ConfigurationError(
            f"opened {modality.name} cannot be sent to `pipeline serve`; give its file"
        )
    return data, f"the {modality.name}"


def _loaded(path: Path, settings: Settings) -> tuple[bytes, str]:
    # Late: a client that is given no paths needs none of the loaders.
    from pipeline.loaders import Loader, LoadOptions

    path = expanded(path).resolve()
    try:
        # The person at the keyboard names the file, so its folder is allowed for this once.
        with Loader(LoadOptions.of(settings), [path.parent]) as loader:
            return loader.load(str(path)).data, str(path)
    except RowError as exc:
        raise ConfigurationError(f"{redact(str(path))}: {exc.message}") from exc
