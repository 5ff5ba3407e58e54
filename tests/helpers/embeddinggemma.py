"""An EmbeddingGemma 2 of 1.5 million parameters with random weights, saved as its makers do."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    EmbeddingGemma2Config,
    EmbeddingGemma2Model,
    EmbeddingGemma2Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.embedding_gemma2.video_processing_embedding_gemma2 import (
    EmbeddingGemma2VideoProcessor,
)
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor
from transformers.models.gemma4.image_processing_gemma4 import Gemma4ImageProcessor

from tests.helpers.saved_by_transformers import quiet, randomised

QUERY, ITEM = "task: search result | query: ", "title: none | text: "
DIMENSIONS = 96
SPECIAL = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|image>", "<image|>", "<|image|>", "<|audio>",
    "<audio|>", "<|audio|>", "<|video|>",
)  # fmt: skip
IDS = {token: number for number, token in enumerate(SPECIAL)}
VISION = {
    "model_type": "gemma4_vision",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 24,
}
AUDIO = {
    "model_type": "gemma4_audio",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "output_proj_dims": 64,
    "subsampling_conv_channels": [128, 8],
}


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, without merges: any text has tokens, and every letter tells."""
    vocabulary = dict(IDS)
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B <eos>",
        special_tokens=[("<bos>", IDS["<bos>"]), ("<eos>", IDS["<eos>"])],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        mask_token="<mask>",
        extra_special_tokens={
            "image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>",
            "audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>",
            "video_token": "<|video|>",
        },
    )  # fmt: skip


def config(*, vision: bool = True, audio: bool = True) -> EmbeddingGemma2Config:
    return EmbeddingGemma2Config(
        text_config={
            "vocab_size": 512,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "sliding_window": 8,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "hidden_size_per_layer_input": 16,
            "embedding_dim": DIMENSIONS,
            "global_head_dim": 64,
        },
        vision_config=VISION if vision else None,
        audio_config=AUDIO if audio else None,
        boi_token_id=IDS["<|image>"],
        eoi_token_id=IDS["<image|>"],
        image_token_id=IDS["<|image|>"],
        boa_token_id=IDS["<|audio>"],
        eoa_token_index=IDS["<audio|>"],
        audio_token_id=IDS["<|audio|>"],
        video_token_id=IDS["<|video|>"],
    )


def save(folder: Path, *, vision: bool = True, audio: bool = True) -> Path:
    """The folder, filled."""
    with quiet():
        model = randomised(EmbeddingGemma2Model(config(vision=vision, audio=audio)).eval())
        model.save_pretrained(folder)
        EmbeddingGemma2Processor(
            feature_extractor=Gemma4AudioFeatureExtractor(),
            image_processor=Gemma4ImageProcessor(),
            tokenizer=tokenizer(),
            video_processor=EmbeddingGemma2VideoProcessor(),
        ).save_pretrained(folder)
    steps = "sentence_transformers.base.modules.transformer.Transformer", "x.Pooling", "x.Normalize"
    documents = {
        "modules.json": [
            {"idx": n, "name": str(n), "path": "1_Pooling" if n == 1 else "", "type": step}
            for n, step in enumerate(steps)
        ],
        "1_Pooling/config.json": {"pooling_mode": "mean", "include_prompt": True},
        "config_sentence_transformers.json": {"prompts": {"query": QUERY, "document": ITEM}},
    }
    for name, document in documents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(document))
    return folder
