"""How servers of embeddings are spoken to, a module each.

A new one is a module here with one object that meets ``base.Dialect``, and a place in
:data:`DIALECTS`.
"""

from collections.abc import Mapping

from pipeline.embedders.remote.dialects.base import Dialect
from pipeline.embedders.remote.dialects.cohere import COHERE
from pipeline.embedders.remote.dialects.gemini import GEMINI
from pipeline.embedders.remote.dialects.nova import NOVA
from pipeline.embedders.remote.dialects.openai import INFINITY, JINA, OPENAI
from pipeline.embedders.remote.dialects.voyage import VOYAGE

__all__ = ["DIALECTS", "Dialect"]

_ALL: tuple[Dialect, ...] = (INFINITY, OPENAI, COHERE, VOYAGE, JINA, NOVA, GEMINI)
DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
