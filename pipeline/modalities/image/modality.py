"""Images as a modality. What needs Pillow is imported by the method that needs it: a run of
ingestion that finds nothing to do must not pay for it."""

import io
from typing import TYPE_CHECKING, Any

from pipeline.modalities.base import Decoded, Encoder, Modality, Reader, ReadOptions
from pipeline.modalities.image.sniff import is_image
from pipeline.modalities.moments import Moment

if TYPE_CHECKING:
    from pipeline.modalities.decoding.task import Prepare, Task


class Image(Modality):
    """A photograph, a drawing, a scan; the first frame of what moves."""

    name = "image"
    media = "image"
    description = "An image: a file, an object or a URL of one."
    suffixes = frozenset(
        f".{name}"
        for kinds in ("jpg jpeg jpe jfif", "png apng", "webp", "gif", "tif tiff", "bmp dib")
        for name in kinds.split()
    ) | {".avif", ".heic", ".heif"}
    columns = (
        "image",
        "image_path",
        "image_url",
        "file",
        "path",
        "url",
        "uri",
        "content_ref",
        "file_name",
        "file_path",
        "filename",
        "filepath",
        "img",
    )

    def sniff(self, head: bytes) -> bool:
        return is_image(head)

    def accepts(self, value: object) -> bool:
        from PIL import Image

        return isinstance(value, Image.Image)

    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        """In this process: for bytes of our own. :meth:`reader` is for everybody else's."""
        from pipeline.modalities.image.rendering import Limits, render

        return Decoded(*render(data, Limits(options.max_pixels, options.max_side)))

    def decoded(self, value: Any, options: ReadOptions) -> Decoded:
        """An image that its owner opened with Pillow, in this process; theirs stays as it is."""
        from pipeline.modalities.image.rendering import Limits, render_opened

        return Decoded(*render_opened(value, Limits(options.max_pixels, options.max_side)))

    def to_bytes(self, decoded: Decoded) -> bytes:
        """A PNG, which loses nothing; quickly made rather than small."""
        image, file = decoded.content, io.BytesIO()
        if image.mode not in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"):
            image = image.convert("RGB")
        image.save(file, "PNG", compress_level=1, exif=image.getexif())
        return file.getvalue()

    def reader(self, encoder: Encoder, options: ReadOptions) -> Reader:
        from pipeline.modalities.image.reader import ImageReader

        return ImageReader(self, encoder, options)

    def preview(
        self, moment: Moment | None, options: ReadOptions, prepare: "Prepare"
    ) -> "Task | None":
        from pipeline.modalities.image.decoder import image_task

        return image_task(options, prepare)

    def probes(self) -> list[bytes]:
        from pipeline.modalities.image.probes import pngs

        return pngs()


IMAGE = Image()
