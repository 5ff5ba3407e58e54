"""What a source item or an item may be; each modality has its own partition and index."""

from typing import Literal, get_args

ModalityName = Literal["text", "image"]
# How results of several modalities are put into one order: see sql/functions/search_items.sql.
Ranking = Literal["calibrated", "raw", "quota"]

MODALITIES: tuple[str, ...] = get_args(ModalityName)
RANKINGS: tuple[str, ...] = get_args(Ranking)
