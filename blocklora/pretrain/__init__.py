"""The recipe of the built-in backbone: a small ViT CLIP trained from class folders or tar shards.

`python -m blocklora.pretrain --help` lists what it does. Its product is a folder that any open_clip loads
(`open_clip_config.json` and `open_clip_model.safetensors`); nothing else in the house depends on this room.
"""
