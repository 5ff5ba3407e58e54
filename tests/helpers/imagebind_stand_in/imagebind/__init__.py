"""A package called imagebind with what the plug-in uses of ImageBind: the same names and
signatures, tiny towers of its own. It has no line of ImageBind's, whose licence forbids that."""

from imagebind import data
from imagebind.models import imagebind_model
from imagebind.models.imagebind_model import ModalityType

__all__ = ["ModalityType", "data", "imagebind_model"]
