"""Documents as a modality. What needs pdfium is imported by the method that needs it."""

from typing import TYPE_CHECKING

from pipeline.modalities.base import Decoded, Encoder, Modality, Part, Reader, ReadOptions
from pipeline.modalities.image import IMAGE
from pipeline.modalities.moments import Moment
from pipeline.modalities.still import parts_of

if TYPE_CHECKING:
    from pipeline.modalities.decoding.task import Prepare, Task

_HEAD = 1024  # bytes within which a PDF begins


class Document(Modality):
    """A PDF: its parts are its pages."""

    name = "document"
    media = "application"
    description = "A document: a PDF, as a file, an object or a URL of one."
    suffixes = frozenset({".pdf"})
    columns = ("document_path", "document_url", "pdf", "pdf_path", "pdf_url")
    derived_from = IMAGE

    def sniff(self, head: bytes) -> bool:
        return b"%PDF-" in head[:_HEAD]

    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        """In this process: for bytes of our own. :meth:`reader` is for everybody else's."""
        from pipeline.modalities.decoding.reader import here, require
        from pipeline.modalities.document.reader import pages, task

        require("pypdfium2", "reading documents", "documents")
        return pages(here(task(options, None))(data))

    def parts(self, decoded: Decoded, encoder: Encoder, options: ReadOptions) -> list[Part]:
        """A part a page, with ``page`` (from 1) and ``pages``."""
        return parts_of(decoded)

    def reader(self, encoder: Encoder, options: ReadOptions) -> Reader:
        from pipeline.modalities.document.reader import DocumentReader

        return DocumentReader(self, encoder, options)

    def preview(
        self, moment: Moment | None, options: ReadOptions, prepare: "Prepare"
    ) -> "Task | None":
        """The page. Raises PermanentRowError: ``missing_extra``."""
        from pipeline.modalities.decoding.reader import require
        from pipeline.modalities.document.reader import task

        require("pypdfium2", "reading documents", "documents")
        page = moment.page if moment is not None and moment.page is not None else 1
        return task(options, None, prepare=prepare, only_page=page)

    def probes(self) -> list[bytes]:
        from pipeline.modalities.document.probes import documents

        return documents()


DOCUMENT = Document()
