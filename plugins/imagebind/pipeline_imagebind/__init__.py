"""ImageBind: texts, images, sounds, depth, heat and motion in one space.

What is imported here is found by an entry point in every process; torch and ImageBind are imported
when a model is opened, and not before its licence was accepted.
"""

from typing import TYPE_CHECKING

from pipeline.embedders import Description
from pipeline_imagebind.description import ImageBindDescription
from pipeline_imagebind.spec import PREFIX, check_licence, weights_of

if TYPE_CHECKING:
    from pipeline.embedders import Embedder

__all__ = ["IMAGEBIND", "ImageBind"]


class ImageBind:
    """``imagebind:FILE``, where the file is the model's checkpoint on this machine."""

    kind: str = ImageBindDescription.kind
    description: type[Description] = ImageBindDescription

    def claims(self, spec: str) -> bool:
        return spec.startswith(PREFIX)

    def open(
        self,
        spec: str,
        *,
        device: str,
        precision: str,
        batch_size: int,
        weights_sha256: str | None = None,
    ) -> "Embedder":
        check_licence()
        weights = weights_of(spec)
        from pipeline_imagebind.opening import opened

        return opened(spec, weights, device, precision, batch_size, weights_sha256)

    def open_new(self, spec: str, *, device: str, precision: str) -> "Embedder":
        check_licence()
        weights = weights_of(spec)
        from pipeline_imagebind.opening import opened_new

        return opened_new(spec, weights, device, precision)

    def cosine_to_float32(self, spec: str, precision: str, *, device: str) -> float:
        check_licence()
        weights = weights_of(spec)
        from pipeline_imagebind.opening import cosine_to_float32

        return cosine_to_float32(spec, weights, precision, device)


IMAGEBIND = ImageBind()
