"""Small models of the classes that pretrained ones have, with random weights, saved as their libraries save them."""

import json
from pathlib import Path

import torch

WORDS = (
    "there is no a pleural effusion left right lung clear tube the of and small large heart normal line catheter view "
    "chest lateral frontal supine pneumothorax opacity base apex unchanged new since prior study patient . ,"
)


def tokenizer(max_tokens=32):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: k for k, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split()])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=max_tokens,
        **{"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"},
    )


N_TOKENS = 4 + len(WORDS.split())
SPREAD = 0.2  # of random weights: with the usual 0.02, two texts have nearly the same embedding


def text_settings(**more):
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 32,
        "vocab_size": N_TOKENS,
        "initializer_range": SPREAD,
        **more,
    }


def vision_settings(**more):
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 14,
        "initializer_range": SPREAD,
        **more,
    }


def save_bert(folder):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(**text_settings(pad_token_id=0))).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def save_sentence_bert(folder):
    """Save a folder as sentence-transformers lays it out: mean pooling, 16 tokens, unit length."""
    save_bert(folder)
    kinds = ["models.Transformer", "models.Pooling", "models.Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": k, "name": str(k), "path": path, "type": f"sentence_transformers.{kind}"}
        for k, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    Path(folder, "modules.json").write_text(json.dumps(modules))
    Path(folder, "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, "do_lower_case": False}))
    Path(folder, "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    Path(folder, "1_Pooling", "config.json").write_text(json.dumps(pooling))
    return folder


def save_vit(folder):
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    ViTModel(ViTConfig(**vision_settings())).save_pretrained(folder)
    ViTImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)
    return folder


def save_dinov2(folder):
    """Save a DINOv2 with RAD-DINO's preparation: the shorter side resized, the middle cut, its mean and deviation."""
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**vision_settings(mlp_ratio=2))).save_pretrained(folder)
    BitImageProcessor(
        size={"shortest_edge": 56},
        crop_size={"height": 56, "width": 56},
        image_mean=[0.5307] * 3,
        image_std=[0.2583] * 3,
    ).save_pretrained(folder)
    return folder


def save_siglip(folder):
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(0)
    text = text_settings(max_position_embeddings=16, projection_size=32, bos_token_id=2, eos_token_id=3, pad_token_id=0)
    config = SiglipConfig(text_config=text, vision_config=vision_settings())
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)
    tokenizer(16).save_pretrained(folder)
    return folder


def open_clip_settings(**text):
    return {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 56, "layers": 2, "width": 32, "head_width": 16, "patch_size": 14},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2, **text},
    }


def save_open_clip(folder, **text):
    """Save an open_clip model with its own byte-pair tokenizer, as `open_clip.push_to_hf_hub` lays a folder out."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = open_clip_settings(**text)
    prepare = {"size": [56, 56], "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": prepare}))
    save_file(open_clip.model.CLIP(**config).state_dict(), Path(folder, "open_clip_model.safetensors"))
    return folder


def save_word_clip(folder):
    """Save an open_clip model with a vocabulary of words, as the package's own model has one."""
    from mmaudit.encoders._words import WordTokenizer

    words = WordTokenizer([word for word in WORDS.split() if word.isalpha()], context_length=24)
    save_open_clip(folder, vocab_size=words.vocab_size)
    words.save(Path(folder, "vocabulary.json"))
    return folder


def save_biomed_clip(folder, tower):
    """Save an open_clip model whose text tower is a BERT of transformers with its configuration elsewhere."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_bert(tower)
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 56, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14},
        "text_cfg": {
            "hf_model_name": str(tower),
            "hf_tokenizer_name": str(tower),
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 32,
        },
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}})
    )
    made = open_clip.model.CustomTextCLIP(
        **{**config, "text_cfg": {**config["text_cfg"], "hf_model_pretrained": False}}
    )
    save_file(made.state_dict(), Path(folder, "open_clip_pytorch_model.safetensors"))
    tokenizer().save_pretrained(folder)
    return folder


def save_resnet(folder):
    """Save a convolutional network, whose answer has no tokens."""
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetModel

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 56}, crop_pct=0.875).save_pretrained(folder)
    return folder
