"""Behind ``pipeline.embedders.openclip.embedder``: find, fetch, check and build a model of OpenCLIP.

``loading``, ``blocks`` and ``text_towers`` import torch; the others do not.
"""
