"""What a space says of a model that nobody has to load."""

from pipeline.embedders.openclip.description import OpenClipDescription

CLIP = OpenClipDescription(
    model="ViT-B-32/openai",
    dimensions=512,
    precision="bfloat16",
    weights_sha256="a" * 64,
    context_length=77,
    architecture="ViT-B-32",
    architecture_config={"embed_dim": 512, "vision_cfg": {"layers": 12, "width": 768}},
    image_size=(224, 224),
    text_is_causal=True,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    interpolation="bicubic",
    resize_mode="shortest",
    fill_color=0,
    tokenizer={"kind": "SimpleTokenizer"},
    logit_scale=100.00000762939453,
)
