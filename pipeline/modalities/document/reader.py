"""Reading documents for one encoder of images: pages come back small, fitted to the model."""

from pipeline.modalities.base import Decoded, Encoder, Modality, ReadOptions
from pipeline.modalities.decoding.reader import ProcessReader, media_task, require
from pipeline.modalities.decoding.task import Answer, Prepare, Task
from pipeline.modalities.still import Still, fitting, image_of

_SIDE = 1024  # pixels of a rendered page's longer side: more than any model's input
_PAGE_END = "\f"


def task(
    options: ReadOptions,
    encoder: Encoder | None,
    *,
    prepare: Prepare | None = None,
    only_page: int | None = None,
) -> Task:
    """What decodes documents within these limits.

    Args:
        prepare: in place of how the encoder fits images.
        only_page: from 1; no other is rendered.
    """
    limits = {
        "only_page": only_page,
        "max_parts": options.max_parts,
        "max_decoded_bytes": options.max_decoded_bytes,
        "side": _SIDE,
    }
    return media_task(
        "pipeline.modalities.document.task",
        "document",
        options,
        limits,
        options.max_pixels // 8,  # of an image within a page, of which pdfium keeps few
        prepare or fitting(encoder),
    )


def pages(answer: Answer) -> Decoded:
    """Its content: a list of pages, each with its number and its text."""
    text, *images = answer.arrays
    texts = text.tobytes().decode().split(_PAGE_END)[:-1]
    content = [
        Still(image_of(image), {"page": number, "pages": len(images)}, text)
        for number, (image, text) in enumerate(zip(images, texts, strict=True), 1)
    ]
    return Decoded(content, answer.notes)


class DocumentReader(ProcessReader):
    """See :meth:`Modality.decode` of documents."""

    def __init__(self, modality: Modality, encoder: Encoder, options: ReadOptions) -> None:
        super().__init__(modality, encoder, options, task(options, encoder))

    def decode(self, data: bytes) -> Decoded:
        require("pypdfium2", "reading documents", "documents")
        return super().decode(data)

    def decoded(self, answer: Answer) -> Decoded:
        return pages(answer)
