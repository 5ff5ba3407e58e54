"""Bytes -> the RGB image a person would see; no file can take the worker down.

Images are decoded in processes of their own (``pipeline/modalities/decoding``). What "the image a
person would see" means is in ``rendering.py`` and ``colours.py``.
"""

from typing import Self

from PIL import Image

from pipeline.modalities.base import Decoded, ReadOptions
from pipeline.modalities.decoding.pool import DecoderPool
from pipeline.modalities.decoding.task import Task
from pipeline.modalities.image.rendering import memory_needed
from pipeline.modalities.image.task import Prepare, decoding


def image_task(options: ReadOptions, prepare: Prepare | None) -> Task:
    """What decodes images within these limits."""
    memory_bytes = options.decode_memory_bytes or memory_needed(
        options.max_pixels, options.max_bytes
    )
    return Task(
        module=decoding.__module__,
        function=decoding.__name__,
        noun="image",
        max_bytes=options.max_bytes,
        memory_bytes=memory_bytes,
        answer_bytes=3 * options.max_pixels,
        cpu_seconds=options.decode_cpu_seconds,
        timeout_seconds=options.decode_timeout_seconds,
        options={
            "max_pixels": options.max_pixels,
            "max_side": options.max_side,
            "keep_gps": options.keep_gps,
            "memory_bytes": memory_bytes,
        },
        prepare=prepare,
    )


class ImageDecoder:
    """Decodes images in its own processes. Thread-safe; ``close()`` ends the processes.

    ``prepare``, a picklable callable without torch, runs in the process after decoding: a resize
    there spares sending the full image back. At most ``options.decode_processes`` images
    are decoded at a time; a further ``decode`` waits.
    """

    def __init__(self, options: ReadOptions, prepare: Prepare | None = None) -> None:
        self._pool = DecoderPool(image_task(options, prepare), options.decode_processes)

    def decode(self, data: bytes) -> Decoded:
        """Decode one image.

        Raises:
            PermanentRowError: ``empty_file``, ``not_an_image``, ``unsupported_format``,
                ``too_large``, ``too_complex``, ``truncated``, ``corrupt`` or ``decoder_crashed``.
            TransientRowError: ``timeout``, ``out_of_memory`` or ``internal``.
        """
        (pixels,), notes = self._pool.decode(data)
        height, width, _ = pixels.shape
        # The image keeps the array's memory: nothing is copied.
        image = Image.frombuffer("RGB", (width, height), pixels, "raw", "RGB", 0, 1)
        return Decoded(image, notes)

    def close(self) -> None:
        """End the processes. An image that is being decoded is finished first."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
