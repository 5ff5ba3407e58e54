"""Motion: what an accelerometer and a gyroscope measured over time.

``modality`` is the door; ``task`` runs in a decoder process.
"""

from pipeline.modalities.imu.modality import IMU, ImuEncoder
from pipeline.modalities.imu.recording import Recording

__all__ = ["IMU", "ImuEncoder", "Recording"]
