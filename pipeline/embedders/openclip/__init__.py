"""OpenCLIP: find, fetch, check and build a model, and embed with it.

``loading``, ``blocks`` and ``text_towers`` import torch; the others do not.
"""
