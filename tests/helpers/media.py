"""Small films, sounds and documents, made by the libraries that read them."""

import io
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
SIZE = (160, 120)


class StillEncoder:
    """As an image encoder that does not say how it fits."""

    batch_size = most_inputs = 8


class SoundEncoder(StillEncoder):
    sampling_rate = 16_000
    seconds = 2.0


def scene(number: int, size: tuple[int, int] = SIZE) -> Pixels:
    """Another one for each number: large squares of random colours."""
    blocks = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    width, height = size
    return np.ascontiguousarray(blocks.repeat(height // 6, 0).repeat(width // 8, 1))


def panned(image: Pixels, frames: int, step: int = 2) -> list[Pixels]:
    """The image moving to the right."""
    return [np.ascontiguousarray(np.roll(image, step * n, axis=1)) for n in range(frames)]


def film(
    frames: Iterable[Pixels],
    *,
    kind: str = "mp4",
    codec: str = "mpeg4",
    rate: int = 10,
    milliseconds: Sequence[int] | None = None,
    aspect: int = 1,
    tags: dict[str, Any] | None = None,
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> bytes:
    """A film of these frames; ``milliseconds`` are their times where the rate varies."""
    import av

    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - an index is moved in a file alone
    with file, av.open(file.name, "w", kind, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 2_000_000
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        voice = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        stream.width, stream.height = SIZE
        frames = list(frames)
        if not frames:
            container.start_encoding()
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width = pixels.shape[:2]
                if aspect != 1:
                    stream.codec_context.sample_aspect_ratio = Fraction(aspect)
                for name, value in (tags or {}).items():
                    setattr(stream.codec_context, name, value)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            if tags:
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None:
            for frame in _sound_frames(tone(16_000, 1.0), 16_000):
                container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
        container.close()
        return Path(file.name).read_bytes()


def _sound_frames(samples: NDArray[Any], rate: int) -> Iterable[Any]:
    import av

    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    for start in range(0, len(samples), 1024):
        block = np.ascontiguousarray(samples[start : start + 1024].T.astype(np.float32))
        frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
        frame.sample_rate, frame.pts = rate, start
        yield frame


def encoded_sound(samples: NDArray[Any], rate: int, kind: str, codec: str) -> bytes:
    """By FFmpeg."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", kind) as container:
        layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
        stream = container.add_stream(codec, rate=rate, layout=layout)
        for frame in _sound_frames(samples, rate):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def tone(rate: int, seconds: float, pitch: float = 440.0, channels: int = 1) -> NDArray[Any]:
    """(samples, channels), half as loud as can be."""
    time = np.arange(round(rate * seconds)) / rate
    return np.repeat(0.5 * np.sin(2 * np.pi * pitch * time)[:, None], channels, axis=1)


def sound(samples: NDArray[Any], rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """By libsndfile."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def pdf(
    pages: Sequence[bytes] = (b"",),
    *,
    box: str = "0 0 612 792",
    rotate: int = 0,
    kids: str | None = None,
    count: int | None = None,
    trailer: bytes = b"",
    further: Sequence[bytes] = (),
) -> bytes:
    """By hand, page by page from its content stream."""
    own = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    number = len(pages) if count is None else count
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{own if kids is None else kids}] /Count {number} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, content in enumerate(pages):
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Rotate {rotate} /Contents {5 + 2 * n}"
            " 0 R /Resources << /Font << /F 3 0 R >> >> >>".encode(),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        ]
    return _assembled([*objects, *further], trailer)


def _assembled(objects: Sequence[bytes], trailer: bytes) -> bytes:
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    end = b"trailer << /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n"
    return data + head + table + end % (len(objects) + 1, trailer, len(data))


def text_of(text: str) -> bytes:
    """A content stream that writes it."""
    return f"BT /F 40 Tf 60 600 Td ({text}) Tj ET".encode()


def turned(data: bytes, matrix: Sequence[int]) -> bytes:
    """An MP4 whose film is to be shown by (a, b, c, d): a point (x, y) at (ax + cy, bx + dy)."""
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = matrix
    numbers = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    packed = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    return data[:start] + packed + data[start + 36 :]
