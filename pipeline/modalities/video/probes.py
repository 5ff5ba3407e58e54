"""The films that a space of a model with an encoder of films is probed with."""

import io

import numpy as np
from PIL import Image

from pipeline.errors import MissingExtra
from pipeline.modalities.image.probes import images

_SIZE = (64, 48)
_FRAMES = 3  # of each image, a second of it


def films() -> list[bytes]:
    """Two images that follow each other, and one alone: without loss, a few kilobytes each.

    Raises:
        MissingExtra: PyAV is not there.
    """
    first, second, third, scene = (image.resize(_SIZE) for image in images())
    return [_film([first, scene]), _film([second]), _film([third, first])]


def _film(shots: list[Image.Image]) -> bytes:
    try:
        import av
    except ImportError as exc:
        raise MissingExtra("making films to probe a model with", "video") from exc
    file = io.BytesIO()
    with av.open(file, "w", "matroska", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("ffv1", rate=_FRAMES)
        stream.width, stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        for shot in shots:
            for _ in range(_FRAMES):
                frame = av.VideoFrame.from_ndarray(np.asarray(shot), "rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
