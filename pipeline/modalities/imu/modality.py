"""Motion as a modality. What decodes it is imported by the method that needs it."""

import hashlib
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import PermanentRowError
from pipeline.modalities.audio.windows import windows
from pipeline.modalities.base import Decoded, Encoder, Modality, Part, Reader, ReadOptions
from pipeline.modalities.moments import Moment

if TYPE_CHECKING:
    from pipeline.modalities.decoding.task import Prepare, Task

_NUMPY = b"\x93NUMPY"
_HEADER = b"time,ax,ay,az,gx,gy,gz"


class ImuEncoder(Encoder, Protocol):
    """An encoder of motion says what it takes at once: float32, shape (samples, 6), acceleration in
    m/s² and rotation in rad/s along x, y and z.

    Attributes:
        sampling_rate: samples per second.
        seconds: of a window; what is longer is cut, and what is shorter comes as it is.
    """

    @property
    def sampling_rate(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Imu(Modality):
    """An accelerometer and a gyroscope over time: parts are windows of what a model takes at once.

    A CSV with the header ``time,ax,ay,az,gx,gy,gz``, or a NumPy array of these seven columns.
    """

    name = "imu"
    media = "application"
    description = "Acceleration and rotation over time."
    told_suffixes = frozenset({".csv", ".npy"})
    columns = ("imu_path", "imu_url")

    def sniff(self, head: bytes) -> bool:
        beginning = head[:64].removeprefix(b"\xef\xbb\xbf").lower().replace(b" ", b"")
        return head.startswith(_NUMPY) or beginning.startswith(_HEADER)

    def decode(self, data: bytes, options: ReadOptions) -> Decoded:
        """In this process: for bytes of our own. :meth:`reader` is for everybody else's."""
        from pipeline.modalities.decoding.reader import here
        from pipeline.modalities.imu.reader import recording, task

        return recording(here(task(options))(data))

    def parts(self, decoded: Decoded, encoder: Encoder, options: ReadOptions) -> list[Part]:
        """Windows with ``start`` and ``end`` in seconds. Raises PermanentRowError:
        ``too_many_parts``."""
        of_motion: ImuEncoder = encoder  # type: ignore[assignment]  # what its encoder is
        rate, found = of_motion.sampling_rate, decoded.content
        samples = max(1, round(found.seconds * rate))
        parts: list[Part] = []
        for start, end in windows(samples, max(1, round(of_motion.seconds * rate)), 0):
            if len(parts) == options.max_parts:
                raise PermanentRowError(
                    "too_many_parts",
                    f"it has more than {options.max_parts:,} windows (PIPELINE_MAX_PARTS)",
                )
            moved = found.at(start, end, rate)
            span = {"start": round(start / rate, 3), "end": max(round(end / rate, 3), 0.001)}
            digest = hashlib.sha256(b"%d\n" % rate + moved.tobytes()).digest()
            parts.append(Part(moved, {**decoded.notes, **span}, sha256=digest))
        return parts

    def reader(self, encoder: Encoder, options: ReadOptions) -> Reader:
        from pipeline.modalities.imu.reader import ImuReader

        return ImuReader(self, encoder, options)

    def preview(
        self, moment: Moment | None, options: ReadOptions, prepare: "Prepare"
    ) -> "Task | None":
        """Curves of acceleration above and of rotation below, of a moment or of all of it."""
        from pipeline.modalities.imu.reader import task

        span = None if moment is None else (moment.start, moment.end)
        return task(options, prepare, span)

    def probes(self) -> list[bytes]:
        from pipeline.modalities.imu.probes import recordings

        return recordings()


IMU = Imu()
