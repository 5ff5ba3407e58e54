"""The files of a model: how they are called, and whether one is whole. Nothing is executed."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAMES = (  # in this order; those of OpenCLIP and of the hub
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
SAVED_CONFIG_NAME = "config.json"  # and the weights, where transformers saved the model
SAVED_WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")


def sha256_of(file: Path) -> str:
    """sha256 (hex) of a file's bytes, as ``sha256sum`` prints it."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checked_sha256(file: Path, expected: str | None) -> str:
    """The hash of a file that must have the expected one, where one is known.

    Raises:
        ModelError: it has another.
    """
    found = sha256_of(file)
    if expected not in (None, found):
        raise ModelError(
            f"{file} has the hash {found[:12]}... and not {expected[:12]}... of the model that is "
            "expected there, so nothing of it is read; bring the old file back, or build a new "
            "space for this one with `pipeline space create`"
        )
    return found


def check_safetensors(file: Path) -> None:
    """Refuse what is no whole safetensors file, from its header alone (no tensor is read).

    Layout: 8 bytes little-endian header length, a JSON header with every tensor's offsets, data.

    Raises:
        ModelError: not safetensors, a pickle in disguise, or cut short.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= 100_000_000:
            if start.startswith((b"PK\x03\x04", b"\x80")):
                raise ModelError(
                    f"{file} is a pickle, not safetensors, whatever its name says; convert it "
                    "with safetensors.torch.save_file"
                )
            raise ModelError(f"{file} is no safetensors file; download or export it again")
        header = stream.read(length)
    if len(header) < length:
        raise ModelError(f"{file} is cut short within its header; download or export it again")
    try:
        entries: dict[str, Any] = json.loads(header)
        data = max(e["data_offsets"][1] for n, e in entries.items() if n != "__metadata__")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as exc:
        raise ModelError(f"{file} is no safetensors file; download or export it again") from exc
    if size < 8 + length + data:
        raise ModelError(
            f"{file} is cut short: {size:,} of {8 + length + data:,} bytes; download it again"
        )
