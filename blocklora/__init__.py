"""Block-LoRA Studio: few-shot image classifiers from CLIP, without code.

Importing this package imports nothing heavy; torch and open_clip are loaded only by the rooms that compute
(`clip`, `lora`, `training`, `pretrain`), which run in worker processes.
"""

__version__ = "0.1.0"
