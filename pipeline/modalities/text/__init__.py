"""Text: the reference is the content; cleaned once, and cut into windows that a model can read."""

from pipeline.modalities.text.modality import TEXT, TextEncoder
from pipeline.modalities.text.windows import TextWindow

__all__ = ["TEXT", "TextEncoder", "TextWindow"]
