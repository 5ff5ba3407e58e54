"""Which of OpenCLIP's pairs, or which repository of the hub, a name means. Imports torch."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import open_clip

from pipeline.embedders.openclip.checkpoints import ModelSpec, parse_spec
from pipeline.embedders.openclip.huggingface.names import PAIRS


def resolved(spec: ModelSpec) -> ModelSpec:
    """A name of the hub's as OpenCLIP's own pair for it, so that nothing is downloaded twice.

    A name like ``organisation/name`` that OpenCLIP does not have and that is none of its own
    misspelt is a repository of the hub's.
    """
    if spec.architecture is None or spec.weights is not None:
        return spec
    pair = PAIRS.get(spec.text) or _pair_in(spec.text)
    if pair is not None:
        return parse_spec(pair)
    return ModelSpec(spec.text, hub_id=spec.text) if _is_of_the_hub(spec) else spec


def _pair_in(repository: str) -> str | None:
    """The pair whose weights OpenCLIP itself takes from this repository."""
    for architecture, tag in open_clip.list_pretrained():
        source = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "")
        if source.removesuffix("/") == repository:
            return f"{architecture}/{tag}"
    return None


def _is_of_the_hub(spec: ModelSpec) -> bool:
    known = open_clip.list_models()
    return (
        spec.text.count("/") == 1
        and all(spec.text.split("/"))
        and spec.architecture not in known
        and spec.tag not in {tag for _, tag in open_clip.list_pretrained()}
        and not close(str(spec.architecture), known)
        and not Path(spec.text).is_dir()  # meant, perhaps: the error says how to write it
    )


def close(word: str, words: Sequence[str]) -> str:
    """The known names nearest to ``word``, as the end of a clause; empty where none is near."""
    by_lower = {known.lower(): known for known in words}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=4, cutoff=0.5)
    return f" (close: {', '.join(by_lower[name] for name in near)})" if near else ""
