"""How sounds are cut and made into spectra, and where the vocabulary is."""

from pathlib import Path
from typing import Any

import torch


def return_bpe_path() -> str:
    return str(Path(__file__).parent / "bpe" / "words.txt")


def waveform2melspec(
    waveform: torch.Tensor, sample_rate: int, num_mel_bins: int, target_length: int
) -> torch.Tensor:
    """Here: the loudness of one band after the other, shape (1, bins, frames)."""
    waveform -= waveform.mean()
    bands = torch.stft(
        waveform[0], 2 * num_mel_bins, sample_rate // 100, return_complex=True, pad_mode="constant",
        window=torch.hann_window(2 * num_mel_bins),
    ).abs()[1:]  # fmt: skip
    short = max(0, target_length - bands.shape[1])
    padded = torch.nn.functional.pad(bands, (0, short))[:, :target_length]
    return (padded + 1e-6).log()[None]


class ConstantClipsPerVideoSampler:
    """pytorchvideo's, which ImageBind's module has by this name."""

    def __init__(self, clip_duration: float, clips_per_video: int, augs_per_clip: int = 1) -> None:
        self._duration, self._clips, self._next = clip_duration, clips_per_video, 0

    def __call__(
        self, last_clip_time: float, video_duration: float, annotation: Any
    ) -> tuple[float, float, int, int, bool]:
        room = max(video_duration - self._duration, 0)
        start = room * self._next / max(self._clips - 1, 1)
        self._next += 1
        return start, start + self._duration, self._next - 1, 0, self._next == self._clips


def get_clip_timepoints(clip_sampler: Any, duration: float) -> list[tuple[float, float]]:
    clips = iter(lambda: clip_sampler(0.0, duration, annotation=None), None)
    found: list[tuple[float, float]] = []
    for start, end, *_, is_last in clips:
        found.append((start, end))
        if is_last:
            break
    return found
