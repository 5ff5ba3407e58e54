"""What a run reads its rows' content with."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from pipeline import modalities
from pipeline.embedders import Embedder
from pipeline.embedders.derived import all_encoders
from pipeline.modalities import Reader, ReadOptions
from pipeline.settings import Settings
from pipeline.spaces import Space


@contextmanager
def open_readers(
    space: Space, embedder: Embedder, settings: Settings
) -> Iterator[Mapping[str, Reader]]:
    """By modality, one for each that the space embeds and this process can decode; closed after.

    Raises:
        ConfigurationError: a modality that the space has items of cannot be decoded here.
    """
    encoders, options = all_encoders(embedder), ReadOptions.of(settings)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(modalities.get(name).reader(encoders[name], options))
            for name in space.embeds
            if name in space.modalities or name in encoders
        }
