"""What the parser and the commands both know of the options."""

from __future__ import annotations

# Numbers of `TrainingConfig` that are options under their own names.
TRAINING_NUMBERS = (
    *("steps", "batch_size", "learning_rate", "head_learning_rate", "weight_decay", "label_smoothing", "crop_scale"),
    *("patience", "checks", "views", "estimate_minutes"),
)
