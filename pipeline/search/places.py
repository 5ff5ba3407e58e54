"""Where found files are: the folder that all of them are below, and what is left of each."""

from collections.abc import Sequence
from itertools import takewhile

from pipeline import modalities
from pipeline.references import is_data, is_elsewhere
from pipeline.search.results import MultimodalDocument


def common_folder(references: Sequence[str]) -> str:
    """The folder that all files among the references are below; empty where there is none.

    One of a web site or a bucket counts too, as long as all are in it.
    """
    paths = [
        reference.partition("?")[0] if is_elsewhere(reference) else reference
        for reference in references
        if not is_data(reference)
    ]
    levels = zip(*(path.split("/")[:-1] for path in paths), strict=False)
    common = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels)]
    folder = "/".join(common)
    # Neither the root nor a scheme without its host is a folder.
    return folder if len(common) > (2 if is_elsewhere(f"{folder}//") else 1) else ""


def place_in(folder: str, reference: str) -> str:
    """The reference from the folder on; whole where it is not below."""
    return reference.removeprefix(f"{folder}/") if folder else reference


def is_inline(document: MultimodalDocument) -> bool:
    """Whether its reference is its content, as that of a text."""
    modality = modalities.find(str(document.modality))
    return modality is not None and modality.inline
