"""Films: cut where the picture changes, each part one frame and the span that it stands for.

``modality`` is the door; ``task`` runs in a decoder process. Importing this package loads no PyAV.
"""

from pipeline.modalities.video.modality import VIDEO

__all__ = ["VIDEO"]
