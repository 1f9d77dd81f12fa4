"""How much memory a training step takes, and how many images go through it at once where there is less.

The tensors that autograd keeps for the backward pass are what grows with the images of a step and with the class names. They are
counted as they are kept, on one image and on two, so the count holds for any tower, any adapters and any number format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil
import torch
from torch import nn

from blocklora.clip.backbones import Backbone
from blocklora.clip.prompts import image_features, text_class_weights, tokenise
from blocklora.speeds import SPARE, Footprint
from blocklora.training.device import Compute

if TYPE_CHECKING:
    from blocklora.lora.adapters import Adapters
    from blocklora.training.setup import Setup

SHARE = 0.7  # of the memory that is free, a step may take so much


def kept_bytes(work: Callable[[], torch.Tensor], model: nn.Module) -> int:
    """Bytes of the tensors that autograd keeps for the backward pass of `work()`, those of `model` itself left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        held = work()  # as long as this lives, no storage is freed and its address given to another
    del held
    return sum(kept.values())


def one_more(work: Callable[[int], torch.Tensor], model: nn.Module) -> int:
    """What one more item costs: `work(2)` less `work(1)`, in bytes."""
    return max(0, kept_bytes(lambda: work(2), model) - kept_bytes(lambda: work(1), model))


def footprint(backbone: Backbone, adapters: Adapters, compute: Compute) -> Footprint:
    """The memory of a backbone with `adapters` on it."""
    size, model = backbone.preprocess.size, backbone.model
    adapters.train(True)

    def images(count: int) -> torch.Tensor:
        with compute.autocast():
            return image_features(model, torch.zeros(count, 3, size, size, device=compute.device))

    def prompts(count: int) -> torch.Tensor:
        batch = tokenise(["word"] * count, ["a photo of a {}."], backbone).to(compute.device)
        with compute.autocast():
            return text_class_weights(model, batch)

    length = tokenise(["word"], ["a photo of a {}."], backbone).tokens.shape[1]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    if compute.precision == "bf16":
        weights += weights // 2  # autocast keeps its copies for a step
    found = Footprint(weights, one_more(images, model), one_more(prompts, model) // length)
    adapters.train(False)
    return found


def free_bytes(compute: Compute) -> int:
    """Memory that nobody uses now, on the device that trains."""
    if compute.device.type == "cuda":
        compute.free()  # what torch only keeps for later is not used
        return int(torch.cuda.mem_get_info(compute.device)[0])
    return int(psutil.virtual_memory().available)


def fitting(setup: Setup) -> int:
    """How many images of a step of this run may go through the model together, so that memory holds them."""
    size = setup.backbone.preprocess.size
    one = setup.views.batch([(0, 0)]) if setup.views is not None else torch.zeros(1, 3, size, size, device=setup.compute.device)

    def images(count: int) -> torch.Tensor:
        with setup.compute.autocast():
            return setup.features(one.expand(count, *one.shape[1:]).contiguous())

    def names() -> torch.Tensor:
        with setup.compute.autocast():
            text = setup.step_text()
        return torch.zeros(()) if text is None else text

    setup.adapters.train(True)  # with dropout, as in a step
    image_bytes, name_bytes = one_more(images, setup.backbone.model), kept_bytes(names, setup.backbone.model)
    setup.adapters.train(False)
    return images_at_once(setup.spec.training.batch_size, image_bytes, name_bytes, free_bytes(setup.compute))


def images_at_once(batch_size: int, image_bytes: int, fixed_bytes: int, free: int) -> int:
    """How many images of a step may go through the model together: all of them, or the half, the quarter... that memory holds.

    Args:
        image_bytes: what one image costs (`one_more`).
        fixed_bytes: what the step costs without images: the class names.
        free: bytes that nobody uses.
    """
    room = SHARE * free - SPARE * fixed_bytes
    count = batch_size
    while count > 1 and SPARE * image_bytes * count > room:
        count //= 2
    return max(1, count)
