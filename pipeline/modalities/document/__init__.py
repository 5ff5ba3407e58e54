"""Documents: PDF, each page an upright image with the text that the file holds for it.

``modality`` is the door; ``task`` runs in a decoder process. Importing this package loads
no pdfium.
"""

from pipeline.modalities.document.modality import DOCUMENT

__all__ = ["DOCUMENT"]
