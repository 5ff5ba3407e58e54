"""A recording of motion in memory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# As the header of a CSV and the columns of an array have them: seconds, m/s², rad/s.
COLUMNS = ("time", "ax", "ay", "az", "gx", "gy", "gz")


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples in the order of time.

    Attributes:
        times: seconds from the first, rising, shape (n,).
        values: acceleration and rotation along x, y and z, shape (n, 6).
    """

    times: "npt.NDArray[np.float64]"
    values: "npt.NDArray[np.float32]"

    @property
    def seconds(self) -> float:
        """From the first sample to the end of the last."""
        count = len(self.times)
        return float(self.times[-1]) * count / (count - 1)

    def at(self, first: int, last: int, rate: int) -> "npt.NDArray[np.float32]":
        """Samples ``first`` to ``last`` at this rate, (last - first, 6); between two that were
        measured on the line from one to the other."""
        import numpy as np

        when = np.arange(first, last) / rate
        found = [np.interp(when, self.times, channel) for channel in self.values.T]
        return np.stack(found, axis=1).astype(np.float32)
