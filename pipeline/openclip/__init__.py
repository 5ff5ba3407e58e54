"""Behind ``pipeline.embedder``: find, fetch, check and build a model of OpenCLIP.

``loading`` and ``towers`` import torch; ``checkpoints``, ``hub`` and ``tokens`` do not.
"""
