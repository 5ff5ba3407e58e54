"""What OpenCLIP imports for others is left out while a model is opened, and nobody is the worse."""

import subprocess
import sys

import numpy as np

OPEN = """
import sys
from pipeline.embedders.openclip.embedder import MultimodalEmbedder
from pipeline.modalities import Decoded, IMAGE
from PIL import Image
import numpy as np
model = MultimodalEmbedder("demo", precision="float32")
texts = model.embed_text(["a red bicycle", "two dogs"])
pixels = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
images = model.embed_images([Image.fromarray(pixels)])
"""
PRINT = "print(np.concatenate([texts, images]).astype(np.float32).tobytes().hex())"


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Each program in a process of its own that has what the first part imported.
FORKED = """
import os, sys, traceback
failed = []
for name, program in {programs!r}.items():
    if child := os.fork():
        if os.waitpid(child, 0)[1]:
            failed.append(name)
    else:
        try:
            exec(program, {{}})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
sys.exit("failed: " + ", ".join(failed) if failed else 0)
"""


def run_each(first: str, programs: dict[str, str]) -> None:
    run(first + FORKED.format(programs=programs))


def test_a_model_is_opened_and_embeds_without_them() -> None:
    said = run(OPEN + "print([n for n in ('torch._dynamo', 'transformers') if n in sys.modules])")
    assert said == "[]\n"


def test_its_vectors_are_the_same_to_the_last_bit() -> None:
    whole = "import torch._dynamo, transformers\n"  # there already, so nothing is left out
    one, other = run(OPEN + PRINT), run(whole + OPEN + PRINT)
    assert one == other
    assert np.isfinite(np.frombuffer(bytes.fromhex(one.strip()), np.float32)).all()


AFTERWARDS = {
    "the compiler is the real one": """
import torch, torch._dynamo
assert torch._dynamo.__file__.endswith("__init__.py") and torch._dynamo.convert_frame
from torch._dynamo.utils import is_compile_supported
import sys
roi = sys.modules["torchvision.ops.roi_align"]
assert roi.is_compile_supported("cpu") == is_compile_supported("cpu")
compiled = torch.compile(lambda x: x * 2, backend="eager")
assert compiled(torch.ones(2)).tolist() == [2, 2]
""",
    "what torchvision excepts from compilation stays excepted": """
import torch
import torchvision.tv_tensors as tv
image = tv.Image(torch.zeros(3, 4, 4))
assert type(tv.wrap(torch.ones(3, 4, 4), like=image)) is tv.Image
import torch._dynamo
assert type(tv.wrap(torch.ones(3, 4, 4), like=image)) is tv.Image
compiled = torch.compile(lambda x: tv.wrap(x + 1, like=image) * 2, backend="eager")
assert compiled(torch.ones(3, 4, 4)).sum() == 3 * 4 * 4 * 4
""",
    "transformers is the real one": """
import transformers
assert transformers.__version__ and transformers.AutoModel.__name__ == "AutoModel"
from transformers.modeling_outputs import BaseModelOutput
from open_clip import hf_model
assert isinstance(BaseModelOutput(), hf_model.BaseModelOutput)
assert not isinstance(1, hf_model.BaseModelOutput)
assert hf_model.AutoConfig.for_model("bert").model_type == "bert"
""",
    "a text tower of HuggingFace is built": """
import open_clip.hf_model as hf
from transformers import BertConfig
config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9,
                    intermediate_size=8)
tower = hf.HFTextEncoder("bert", output_dim=4, config=config, pooler_type="mean_pooler",
                         proj_type="linear", pretrained=False)
import torch
assert tower(torch.tensor([[1, 2, 3]])).shape == (1, 4)
""",
    "a class can be derived from one of theirs": """
import open_clip.hf_model as hf
from transformers import PretrainedConfig
class Mine(hf.PretrainedConfig):
    model_type = "mine"
assert issubclass(Mine, PretrainedConfig) and Mine.__mro__[1] is PretrainedConfig
""",
}


def test_afterwards() -> None:
    run_each("import pipeline.embedders.openclip.embedder\n", AFTERWARDS)


MEANWHILE = {
    "a module of theirs that was not asked for": "import transformers.configuration_utils as m\n"
    "assert m.PretrainedConfig",
    "a function of theirs": "from transformers import set_seed\nassert callable(set_seed)",
    "their version": "import transformers\nassert transformers.__version__[0].isdigit()",
    "the compiler": "import torch._dynamo\nassert torch._dynamo.reset and torch._dynamo.config",
    "a module of the compiler": "import torch._dynamo.eval_frame as m\nassert m.OptimizedModule",
    "a class of theirs": "from transformers import BertConfig\n"
    "assert BertConfig(hidden_size=8).hidden_size == 8",
}


def test_who_imports_them_in_the_same_moment_has_them() -> None:
    """As another thread of the application might."""
    programs = {}
    for name, program in MEANWHILE.items():
        within = "".join(f"    {line}\n" for line in program.splitlines())
        programs[name] = (
            "from pipeline.embedders.openclip.deferred import deferred_imports\n"
            f"with deferred_imports():\n{within}"
            "import transformers, torch._dynamo\n"
            "assert transformers.AutoModel.__name__ == 'AutoModel'\n"
            "assert torch._dynamo.convert_frame\n"
        )
    run_each("import torch\n", programs)


def test_nothing_is_done_where_they_are_there_or_not_installed() -> None:
    run(
        "import sys, transformers, torch._dynamo\n"
        "from pipeline.embedders.openclip.deferred import deferred_imports\n"
        "with deferred_imports():\n"
        "    assert sys.modules['transformers'] is transformers\n"
        "    assert sys.modules['torch._dynamo'] is torch._dynamo\n"
    )
    run(
        "import sys, importlib.util\n"
        "sys.modules['transformers'] = None\n"
        "from pipeline.embedders.openclip.deferred import deferred_imports\n"
        "with deferred_imports():\n"
        "    try:\n"
        "        import transformers\n"
        "    except ImportError:\n"
        "        pass\n"
        "    else:\n"
        "        raise AssertionError('it is not installed')\n"
    )
