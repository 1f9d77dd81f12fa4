"""Every kind of picture that is promised, every way in which a file can be bad, and a child that crashes, hangs or dies."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from projects_helpers import encoded, giant_png, picture

from blocklora.errors import ImageError
from blocklora.preprocess import to_rgb
from blocklora.projects import decoder as decoder_module
from blocklora.projects.decoder import Decoder, Inspected, Refused
from blocklora.projects.decoding import decode_many, decode_rgb, map_decoders, shared_decoder
from blocklora.projects.limits import THUMB_LONG, THUMB_SHORT, VIEW_SIDE, IntakeLimits


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    one = Decoder()
    yield one
    one.close()


def save(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def taken(found: Inspected | Refused) -> Inspected:
    assert isinstance(found, Inspected), found
    return found


def refused(found: object) -> Refused:
    assert isinstance(found, Refused), found
    return found


# ---- kinds of picture


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_reads_kind(decoder: Decoder, kind: str) -> None:
    data = save(picture(1), kind)
    found = taken(decoder.inspect(data))
    assert (found.width, found.height, found.format, found.size) == (48, 48, kind, len(data))
    pixels = decoder.pixels(data)
    assert isinstance(pixels, np.ndarray) and np.array_equal(pixels, to_rgb(Image.open(io.BytesIO(data))))


def test_reads_heic(decoder: Decoder) -> None:
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(picture(1, 64)).save(out)
    found = taken(decoder.inspect(out.getvalue()))
    assert (found.width, found.height, found.format) == (64, 64, "HEIF")


def test_heic_orientation_is_applied_once(decoder: Decoder) -> None:
    """libheif turns the picture itself; EXIF must not turn it again."""
    import pillow_heif

    wide = Image.new("RGB", (96, 64), "black")
    wide.paste((255, 0, 0), (0, 0, 32, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise
    out = io.BytesIO()
    pillow_heif.from_pillow(wide).save(out, exif=exif.tobytes())
    pixels = decoder.pixels(out.getvalue())
    assert isinstance(pixels, np.ndarray) and pixels.shape == (96, 64, 3)
    assert pixels[4, 32, 0] > 200 and pixels[90, 32, 0] < 60  # the red left edge is the top edge now


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(decoder: Decoder, orientation: int) -> None:
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = (255, 0, 0)  # red top left, green top right
    upright[:20, 30:] = (0, 255, 0)
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # what undoes the orientation, as Image.Transpose
    stored = Image.fromarray(upright) if back is None else Image.fromarray(upright).transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(stored, "PNG", exif=exif.tobytes())
    found = taken(decoder.inspect(data))
    assert (found.width, found.height) == (60, 40)
    assert np.array_equal(decoder.pixels(data), upright)
    thumbnail = Image.open(io.BytesIO(found.thumbnail))
    assert thumbnail.size == (60, 40) and not thumbnail.getexif()


def test_first_frame_of_an_animation(decoder: Decoder) -> None:
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = save(Image.new("RGB", (20, 20), "red"), kind, save_all=True, append_images=[Image.new("RGB", (20, 20), "blue")])
        assert taken(decoder.inspect(data)).frames == 2, kind
        pixels = decoder.pixels(data)
        assert isinstance(pixels, np.ndarray) and pixels[10, 10, 0] > 200 and pixels[10, 10, 2] < 60, kind


def test_sixteen_bits_scale_instead_of_clipping(decoder: Decoder) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        pixels = decoder.pixels(save(Image.fromarray(ramp), kind))
        assert np.array_equal(pixels[:, :, 0], np.rint(ramp / 257).astype(np.uint8)), kind  # type: ignore[index]


def test_cmyk_alpha_and_palette(decoder: Decoder) -> None:
    cmyk = decoder.pixels(save(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert isinstance(cmyk, np.ndarray) and cmyk[8, 8, 0] > 200 and cmyk[8, 8, 1] < 60
    clear = decoder.pixels(save(Image.new("RGBA", (16, 16), (0, 0, 0, 0)), "PNG"))
    assert np.array_equal(clear, np.full((16, 16, 3), 255, np.uint8))
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    assert tuple(decoder.pixels(save(palette, "PNG"))[3, 3]) == (10, 200, 30)  # type: ignore[index]
    assert tuple(decoder.pixels(save(Image.new("1", (9, 9), 1), "PNG"))[3, 3]) == (255, 255, 255)  # type: ignore[index]


def test_one_pixel_wide_and_panorama(decoder: Decoder) -> None:
    thin = taken(decoder.inspect(save(Image.new("RGB", (1, 3000), "green"), "PNG")))
    assert Image.open(io.BytesIO(thin.thumbnail)).size == (1, THUMB_LONG)
    wide = taken(decoder.inspect(save(Image.new("RGB", (4000, 1000), "green"), "JPEG")))
    assert Image.open(io.BytesIO(wide.thumbnail)).size == (THUMB_LONG, THUMB_SHORT)


def test_view_is_larger_bounded_and_bare(decoder: Decoder) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    view = decoder.view(save(picture(1, 2000), "JPEG", exif=exif.tobytes()))
    assert isinstance(view, bytes) and b"where I live" not in view
    assert max(Image.open(io.BytesIO(view)).size) == VIEW_SIDE


# ---- bad files


def test_reasons(decoder: Decoder, tmp_path: Path) -> None:
    good = encoded(1, "JPEG", 200)
    cases = {
        "empty": b"",
        "unsupported": b"just words, no picture",
        "huge": giant_png(),
    }
    for kind, data in cases.items():
        assert refused(decoder.inspect(data)).kind == kind
    assert "60,000 x 60,000" in refused(decoder.inspect(giant_png())).reason
    cut = refused(decoder.inspect(good[: len(good) // 2]))
    assert cut.kind == "corrupt" and "missing" in cut.reason
    assert refused(decoder.inspect(encoded(1)[:60])).kind == "corrupt"
    assert refused(decoder.inspect(tmp_path / "nowhere.png")).kind == "missing"
    assert refused(decoder.inspect(tmp_path)).kind == "unsupported"
    assert taken(decoder.inspect(good)).format == "JPEG"  # the child is none the worse


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_is_not_waited_for(decoder: Decoder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert refused(decoder.inspect(tmp_path / "pipe.png")).kind == "unsupported"


def test_byte_and_pixel_caps(tmp_path: Path) -> None:
    small = Decoder(IntakeLimits(image_bytes=2000, image_pixels=1000))
    try:
        (tmp_path / "big.bmp").write_bytes(encoded(1, "BMP"))
        assert refused(small.inspect(tmp_path / "big.bmp")).kind == "too large"
        assert refused(small.inspect(encoded(1, "JPEG", 40))).kind == "huge"
        assert taken(small.inspect(encoded(1, "JPEG", 30))).width == 30
    finally:
        small.close()


def test_only_allowed_formats_are_opened(decoder: Decoder) -> None:
    for kind in ("PPM", "ICO", "TGA", "PCX", "EPS"):
        assert refused(decoder.inspect(save(picture(1, 32), kind))).kind == "unsupported", kind


# ---- a child that misbehaves

CHILD = """
import sys, os
sys.argv = sys.argv[:1] + sys.argv[2:]
from blocklora.projects import decode_worker as w
real = w.inspect
def inspect(request, data):
    if b"please crash" in data: os.abort()
    if b"please hang" in data:
        import threading; threading.Event().wait()
    if b"please print" in data: os.write(1, b"x" * 100)
    if b"please eat" in data: bytearray(1 << 40)
    if b"please write" in data: open(__file__ + ".out", "wb", buffering=0).write(b"x" * 100)
    return real(request, data)
w.OPERATIONS["inspect"] = inspect
w.main()
"""


def with_words(words: bytes) -> bytes:
    """A PNG that carries words for the child above in a place that decoders ignore (after its end)."""
    return encoded(1) + words


@pytest.fixture
def bad_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Decoder]:
    script = tmp_path / "bad_child.py"
    script.write_text(CHILD)
    real = subprocess.Popen

    def popen(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        return real([sys.executable, str(script), *command[2:]], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(decoder_module.subprocess, "Popen", popen)
    return lambda **limits: Decoder(IntakeLimits(**limits))


def test_a_crash_is_one_files_reason(bad_child: Callable[..., Decoder]) -> None:
    decoder = bad_child()
    try:
        assert refused(decoder.inspect(with_words(b"please crash"))).kind == "crashed"
        assert taken(decoder.inspect(encoded(2))).width == 48
    finally:
        decoder.close()


def test_a_hang_is_cut_short(bad_child: Callable[..., Decoder]) -> None:
    decoder = bad_child(seconds=1.5)
    try:
        assert refused(decoder.inspect(with_words(b"please hang"))).kind == "slow"
        assert taken(decoder.inspect(encoded(2))).width == 48
    finally:
        decoder.close()


def test_prints_memory_and_files_are_confined(bad_child: Callable[..., Decoder], tmp_path: Path) -> None:
    decoder = bad_child()
    try:
        assert taken(decoder.inspect(with_words(b"please print"))).width == 48
        assert refused(decoder.inspect(with_words(b"please eat"))).kind == "huge"
        if sys.platform == "linux":
            assert refused(decoder.inspect(with_words(b"please write"))).kind == "corrupt"
            assert (tmp_path / "bad_child.py.out").stat().st_size == 0
    finally:
        decoder.close()


def test_a_child_that_died_idle_is_replaced(decoder: Decoder) -> None:
    taken(decoder.inspect(encoded(1)))
    assert decoder._child is not None
    decoder._child.kill()
    decoder._child.wait()
    assert taken(decoder.inspect(encoded(1))).width == 48


def test_child_goes_when_its_parent_closes_the_pipe() -> None:
    decoder = Decoder()
    taken(decoder.inspect(encoded(1)))
    child = decoder._child
    assert child is not None and child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=10) == 0
    decoder.close()


def test_child_imports_nothing_heavy() -> None:
    program = "import sys, blocklora.projects.decode_worker; print(sorted({'torch', 'scipy', 'gradio', 'open_clip'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=decoder_module.ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# ---- many at once


def test_decode_many_keeps_order_and_names_the_bad_one(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(number, "PNG", 20 + number))
    paths[3].write_bytes(b"")
    found = list(decode_many(paths))
    assert [path for path, _ in found] == paths
    for number, (_, pixels) in enumerate(found):
        if number == 3:
            assert isinstance(pixels, ImageError) and "3.png" in str(pixels) and "empty" in str(pixels)
        else:
            assert isinstance(pixels, np.ndarray) and np.array_equal(pixels, np.asarray(picture(number, 20 + number)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_smaller_for_a_training_cache(tmp_path: Path, kind: str) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    save_to = picture(5).resize((1200, 900), Image.Resampling.BICUBIC)
    large.write_bytes(save(save_to, kind))
    small.write_bytes(encoded(1, kind, 30))
    (_, one), (_, two) = decode_many([large, small], short_side=150)
    assert isinstance(one, np.ndarray) and one.shape == (150, 200, 3)
    assert isinstance(two, np.ndarray) and two.shape == (30, 30, 3)  # never made larger
    oracle = np.asarray(save_to.resize((200, 150), Image.Resampling.BICUBIC), dtype=int)
    assert np.abs(one.astype(int) - oracle).mean() < 2.0
    ((_, bounded),) = decode_many([large], max_side=300)
    assert isinstance(bounded, np.ndarray) and bounded.shape == (225, 300, 3)


def test_prediction_pixels_are_the_same_by_every_way(tmp_path: Path) -> None:
    data = encoded(3, "JPEG", 130)
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    ((_, many),) = decode_many([path])
    assert np.array_equal(decode_rgb(path), decode_rgb(data))
    assert np.array_equal(decode_rgb(path), many)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="cannot be used"):
        decode_rgb(b"nonsense")


def test_map_takes_items_only_a_few_ahead_and_cleans_up() -> None:
    taken_items = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken_items.append(number)
            yield number

    walk = map_decoders(lambda decoder, number: number * 2, items(), workers=2)
    assert [next(walk)[1] for _ in range(3)] == [0, 2, 4]
    assert len(taken_items) <= 6
    walk.close()  # type: ignore[attr-defined]


def test_interactive_child_is_one() -> None:
    assert shared_decoder() is shared_decoder()


def test_phone_pictures_with_two_views_in_one_file(decoder: Decoder) -> None:
    """MPO: a JPEG with another behind it, as some phones and 3D cameras write."""
    data = save(picture(1, 300), "MPO", save_all=True, append_images=[picture(2, 300)])
    found = taken(decoder.inspect(data))
    assert (found.format, found.frames, found.width) == ("JPEG", 1, 300)
    small = decoder.pixels(data, short_side=60)
    assert isinstance(small, np.ndarray) and small.shape == (60, 60, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_damaged_bytes_anywhere_get_an_answer(decoder: Decoder, kind: str) -> None:
    rng, whole = random.Random(kind), save(picture(3), kind)
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        found = decoder.inspect(bytes(data))
        assert isinstance(found, Inspected) or found.kind in ("corrupt", "unsupported", "huge"), found


def test_many_threads_share_the_children_without_mixing_answers() -> None:
    """An import in one tab, thumbnails in another: each gets the pixels of its own picture."""
    wrong: list[int] = []

    def work(start: int) -> None:
        for number in range(start, start + 12):
            if not np.array_equal(decode_rgb(encoded(number)), np.asarray(picture(number))):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


def test_an_interrupted_question_does_not_leave_its_answer_to_the_next(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decoder_module.wire, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decoder.inspect(encoded(1, side=40))
    assert taken(decoder.inspect(encoded(2, side=50))).width == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_starts_its_own_child(decoder: Decoder) -> None:
    taken(decoder.inspect(encoded(1)))
    before = decoder._child
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "_process", -1)  # as it looks to a process forked from this one
        taken(decoder.inspect(encoded(1)))
    assert decoder._child is not before and before is not None
    decoder._process = os.getpid()
    for stream in (before.stdin, before.stdout):
        assert stream is not None
        stream.close()
    before.wait(timeout=10)
