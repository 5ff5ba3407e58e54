"""Thermal images: values that rise with the temperature."""

from pipeline.modalities.single_channel import SingleChannel


class Thermal(SingleChannel):
    """A temperature for each pixel, in whatever unit the camera has: the warmer, the higher."""

    name = "thermal"
    description = "An image whose values are temperatures."
    columns = ("thermal_path", "thermal_url")
    bits = (8, 16)


THERMAL = Thermal()

__all__ = ["THERMAL"]
