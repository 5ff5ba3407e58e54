"""Films as a modality. What needs PyAV is imported by the method that needs it."""

from pipeline.modalities.base import Decoded, Encoder, Modality, Part, Reader, ReadOptions
from pipeline.modalities.containers.sniff import is_film
from pipeline.modalities.image import IMAGE
from pipeline.modalities.still import parts_of


class Video(Modality):
    """A film: parts are its segments, each one frame and the seconds that it stands for."""

    name = "video"
    media = "video"
    description = "A film: a file, an object or a URL of one."
    suffixes = frozenset(
        f".{name}"
        for kinds in (
            *("mp4 m4v mov qt 3gp 3g2", "mkv webm", "avi", "wmv asf", "flv", "ogv"),
            "mpg mpeg vob m2ts mts",  # not .ts, which most often is TypeScript
        )
        for name in kinds.split()
    )
    columns = ("video", "video_path", "video_url")
    derived_from = IMAGE

    def sniff(self, head: bytes) -> bool:
        return is_film(head)

    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        """In this process: for bytes of our own. :meth:`reader` is for everybody else's."""
        from pipeline.modalities.decoding.reader import here, require
        from pipeline.modalities.video.reader import stills, task

        require("av", "decoding films", "video")
        return stills(here(task(options, None))(data))

    def parts(self, decoded: Decoded, encoder: Encoder, options: ReadOptions) -> list[Part]:
        """A part a segment, with ``start`` and ``end`` in seconds, ``end`` the larger."""
        return parts_of(decoded)

    def reader(self, encoder: Encoder, options: ReadOptions) -> Reader:
        from pipeline.modalities.video.reader import VideoReader

        return VideoReader(self, encoder, options)

    def probes(self) -> list[bytes]:
        """Raises MissingExtra: PyAV is not there."""
        from pipeline.modalities.video.probes import films

        return films()


VIDEO = Video()
