"""The preprocessing inside the file against its twin in torch, and both against Pillow."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image

from blocklora.clip.pixels import resize, to_model_input, to_model_inputs
from blocklora.preprocess import Preprocess
from exporters.onnx_export import IR_VERSION, OPSET
from exporters.pixel_graph import pixel_graph

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
GREY_LEVEL = 1 / (255 * 0.26)  # one step of 255, on the normalised scale


def session(preprocess: Preprocess) -> ort.InferenceSession:
    model = onnx.helper.make_model(
        pixel_graph(preprocess, "images", "pixels"), opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


def photo(height: int, width: int) -> np.ndarray:
    """Smooth with an edge, as photographs are."""
    y, x = np.mgrid[0:height, 0:width]
    y, x = y / max(height, width), x / max(height, width)
    waves = 127 + 80 * np.sin(9 * x + 3 * y) + 40 * np.cos(14 * y)
    disc = (x - 0.5 * width / max(height, width)) ** 2 + (y - 0.4) ** 2 < 0.03
    return np.stack([waves, np.where(disc, 220, 90), 255 - waves], axis=-1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_graph_agrees_with_torch_at_every_size(interpolation: str, resize_mode: str) -> None:
    preprocess = Preprocess(64, MEAN, STD, interpolation, resize_mode)
    run = session(preprocess)
    for height, width in [(1, 1), (1, 500), (500, 1), (2, 3), (37, 211), (64, 64), (63, 65), (640, 480)]:
        for batch in (1, 2, 5):
            images = noise(batch, height, width, 3)
            (found,) = run.run(None, {"images": images})
            expected = to_model_input(torch.from_numpy(images), preprocess).numpy()
            assert found.shape == (batch, 3, 64, 64)
            assert np.abs(found - expected).max() < 0.02 * GREY_LEVEL, (height, width, batch)


def test_one_grey_pixel_by_hand() -> None:
    images = np.full((1, 1, 1, 3), 51, dtype=np.uint8)  # 51 / 255 = 0.2
    preprocess = Preprocess(2, (0.1, 0.2, 0.4), (0.5, 0.5, 0.1))
    expected = np.broadcast_to(np.array([0.2, 0.0, -2.0]).reshape(1, 3, 1, 1), (1, 3, 2, 2))
    np.testing.assert_allclose(session(preprocess).run(None, {"images": images})[0], expected, atol=1e-6)
    np.testing.assert_allclose(to_model_input(torch.from_numpy(images), preprocess), expected, atol=1e-6)


def test_the_middle_is_kept() -> None:
    """Of a 2 x 6 picture, columns 2 and 3 remain."""
    images = np.zeros((1, 2, 6, 3), dtype=np.uint8)
    images[:, :, 2] = 255
    plain = Preprocess(2, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    expected = np.broadcast_to(np.array([[1.0, 0.0], [1.0, 0.0]]), (1, 3, 2, 2))
    np.testing.assert_allclose(session(plain).run(None, {"images": images})[0], expected, atol=1e-6)
    np.testing.assert_allclose(to_model_input(torch.from_numpy(images), plain), expected, atol=1e-6)


def test_overshoot_is_held_in_range() -> None:
    """Bicubic enlargement of a hard edge overshoots by several per cent on either side."""
    images = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    images[:, :, 4:] = 255
    plain = Preprocess(64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    raw = torch.nn.functional.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2).float(), (64, 64), mode="bicubic", antialias=True)
    assert raw.min() < -5 and raw.max() > 260
    for found in (session(plain).run(None, {"images": images})[0], to_model_input(torch.from_numpy(images), plain).numpy()):
        assert found.min() == 0.0 and found.max() == 1.0


def test_filter_is_pillows_up_to_its_rounding() -> None:
    """Pillow rounds to 8 bits after each of its two passes: within one level on a picture, mean far below."""
    square = photo(480, 480)
    pillow = np.asarray(Image.fromarray(square).resize((224, 224), Image.Resampling.BICUBIC), dtype=np.float32)
    ours = resize(torch.from_numpy(square.copy()).permute(2, 0, 1)[None].float(), Preprocess(224, MEAN, STD))[0].permute(1, 2, 0).numpy()
    assert np.abs(pillow - ours).max() <= 1.6
    assert np.abs(pillow - ours).mean() < 0.4


@pytest.mark.parametrize(("height", "width"), [(224, 224), (640, 480), (300, 401), (97, 60)])
def test_close_to_open_clips_own_transform(height: int, width: int) -> None:
    """open_clip resizes the whole picture and then cuts; we cut first. Half a source pixel apart at most."""
    picture = photo(height, width)
    theirs = image_transform(224, is_train=False, mean=MEAN, std=STD)(Image.fromarray(picture))
    ours = to_model_input(torch.from_numpy(picture.copy())[None], Preprocess(224, MEAN, STD))[0]
    assert (theirs - ours).abs().mean() < 2 * GREY_LEVEL


def test_pictures_of_many_sizes_are_taken_one_by_one() -> None:
    preprocess = Preprocess(16, MEAN, STD)
    pictures = [photo(20, 30), photo(9, 5)]
    found = to_model_inputs(pictures, preprocess)
    assert found.shape == (2, 3, 16, 16)
    torch.testing.assert_close(found[1:], to_model_input(torch.from_numpy(pictures[1])[None], preprocess))
