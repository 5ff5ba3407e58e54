"""What a source item or an item may be; each modality has its own partition and index."""

MODALITIES = ("text", "image")
