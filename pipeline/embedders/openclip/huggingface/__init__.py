"""Checkpoints as transformers saves them, CLIP, SigLIP and MetaCLIP 2, opened as OpenCLIP's.

``config.json`` says what a folder holds. The architecture is written down as OpenCLIP writes it and
the weights are put into its layout, so that whatever is done for OpenCLIP's towers (8 bits, shared
beginnings of texts, the last block at one position) is done for these.
"""
