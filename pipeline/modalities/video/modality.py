"""Films as a modality. What needs PyAV is imported by the method that needs it."""

from typing import TYPE_CHECKING

from pipeline.modalities.base import Decoded, Encoder, Modality, Part, Reader, ReadOptions
from pipeline.modalities.containers.sniff import is_film, played_as
from pipeline.modalities.image import IMAGE
from pipeline.modalities.moments import Moment
from pipeline.modalities.still import parts_of

if TYPE_CHECKING:
    from pipeline.modalities.decoding.task import Prepare, Task


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

    def preview(
        self, moment: Moment | None, options: ReadOptions, prepare: "Prepare"
    ) -> "Task | None":
        """The frame in the middle of the segment. Raises PermanentRowError: ``missing_extra``."""
        from pipeline.modalities.decoding.reader import require
        from pipeline.modalities.video.reader import task

        require("av", "decoding films", "video")
        middle = 0.0
        if moment is not None and moment.start is not None and moment.end is not None:
            middle = min((moment.start + moment.end) / 2, options.max_media_seconds)
        return task(options, None, prepare=prepare, only_at=middle)

    def played_as(self, data: bytes) -> str | None:
        return played_as(data)

    def probes(self) -> list[bytes]:
        """Raises MissingExtra: PyAV is not there."""
        from pipeline.modalities.video.probes import films

        return films()


VIDEO = Video()
