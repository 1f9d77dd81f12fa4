"""Many pictures in lanes: in order, as alone, only a few ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_export import Exported

from blocklora.errors import ImageError
from exporters import stream
from exporters.predictor import OnnxClassifier
from exporters.stream import Lanes, in_lanes

DEADLINE = 60.0


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (20 + number % 7, 30, 3), dtype=np.uint8) for number in range(count)]


@pytest.mark.parametrize("many", [False, True])
def test_numbers_are_to_the_bit_those_of_a_picture_alone(many: bool, exported: Exported) -> None:
    model, alone = OnnxClassifier(exported.path, threads=3, many=many), OnnxClassifier(exported.path, threads=1)
    items: list[tuple[int, np.ndarray | None]] = list(enumerate(pictures(40)))
    items[7] = (7, None)
    found = list(model.predict_each(items, top=2))
    assert [key for key, _ in found] == list(range(40))
    for (_, image), (_, answer) in zip(items, found, strict=True):
        if image is None:
            assert answer is None
            continue
        assert answer is not None and len(answer.top) == 2
        np.testing.assert_array_equal(answer.probabilities, alone.predict([image])[0].probabilities)


def test_as_many_run_at_once_as_there_are_lanes() -> None:
    together = threading.Barrier(3)

    def answer(group: Sequence[np.ndarray]) -> list[Any]:
        together.wait(DEADLINE)  # three must be here at once, or it breaks
        return [len(group)]

    assert [found for _, found in in_lanes(((i, image) for i, image in enumerate(pictures(9))), answer, Lanes(3, 1))] == [1] * 9


def test_an_accelerator_gets_pictures_together() -> None:
    sizes: list[int] = []

    def answer(group: Sequence[np.ndarray]) -> list[Any]:
        sizes.append(len(group))
        return [int(image[0, 0, 0]) for image in group]

    given = pictures(10)
    found = [got for _, got in in_lanes(enumerate(given), answer, Lanes(1, 4))]
    assert sizes == [4, 4, 2] and found == [int(image[0, 0, 0]) for image in given]


def test_pictures_are_taken_only_a_few_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def items() -> Iterator[tuple[int, np.ndarray]]:
        nonlocal taken
        for number, image in enumerate(pictures(500)):
            taken = number
            yield number, image

    ahead = [taken - key for key, _ in in_lanes(items(), lambda group: [0] * len(group), Lanes(2, 1))]
    assert max(ahead) <= 4
    monkeypatch.setattr(stream, "WAITING_VALUES", 10)  # less than any picture: then one waits, and one comes
    ahead = [taken - key for key, _ in in_lanes(items(), lambda group: [0] * len(group), Lanes(8, 1))]
    assert max(ahead) <= 1


def test_who_asks_for_no_more_ends_it() -> None:
    begun: list[int] = []
    found = in_lanes(enumerate(pictures(200)), lambda group: [begun.append(1)], Lanes(2, 1))
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert len(begun) < 20 and not [thread for thread in threading.enumerate() if thread.name.startswith("predict")]


def test_what_goes_wrong_is_told_to_who_asked(exported: Exported, tmp_path: Path) -> None:
    model = OnnxClassifier(exported.path, threads=2)
    with pytest.raises(ImageError, match="picture 1"):
        list(model.predict_each([(0, np.zeros((4, 4), np.uint8))]))
