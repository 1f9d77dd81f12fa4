"""Keeps the preview of a project: `python -m exporters.previewer PROJECT HOME BACKBONE`.

It embeds what is new, makes class weights in closed form, writes them down, and waits a while for more: the next image then costs
milliseconds. It ends by itself when nothing changes, when a training starts, and when the project is gone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from blocklora.errors import ImageError, ProjectError, StudioError
from blocklora.jobs.liveness import beat
from blocklora.processor import give_way
from blocklora.projects.dataset import Dataset
from blocklora.projects.project import Project
from blocklora.services.findings import Check
from blocklora.services.previews import Head, PreviewFolder, State
from blocklora.services.runs import reasons_not_ready

if TYPE_CHECKING:
    import numpy as np

    from blocklora.clip.backbones import Backbone
    from blocklora.training.class_weights import Choice
    from exporters.predictor import OnnxClassifier

SHARE = ("OMP_WAIT_POLICY", "PASSIVE")  # as in exporters.worker, and read when torch is loaded
LOOK_SECONDS = 0.3
IDLE_SECONDS = 30.0
SOME = 12  # pictures offered for the check of a new file
EMBEDDINGS = "embeddings"

Say = Callable[[str, float], None]


class Previewer:
    """One project with one backbone. What was embedded stays on disk, by the content of the images."""

    def __init__(self, project: Path, home: Path, backbone: str) -> None:
        self.project_path, self.home, self.name = project, home, backbone
        self.folder = PreviewFolder.of(project, backbone)
        self._backbone: Backbone | None = None
        self._model: OnnxClassifier | None = None
        self._known: dict[str, np.ndarray] = {}
        self._unreadable: set[str] = set()
        self._text: tuple[tuple[str, ...], Any] | None = None

    def make(self, project: Project, mark: str) -> Head | None:
        """Bring the preview up to date; None where the images are not enough for one.

        Raises:
            StudioError: the backbone cannot be used.
        """
        began = time.monotonic()
        dataset = project.dataset()
        if reasons_not_ready(dataset.class_names, dataset.counts):
            self.folder.head.unlink(missing_ok=True)
            self.folder.check.unlink(missing_ok=True)
            return None

        def say(stage: str, fraction: float) -> None:
            self._stay()
            State(mark, stage, fraction).write(self.folder)

        backbone, model = self._open(dataset, say)
        kept, values = self._embedded(dataset, model, say)
        labels = [item.label for item in kept.items]
        if any(label not in labels for label in range(len(dataset.class_names))):
            raise ImageError("a class has no image that can be read.", "Look through the Images tab for pictures that cannot be shown.")
        say("Comparing the classes", 0.95)
        head, choice = self._solve(backbone, dataset, mark, values, labels, began)
        self._check(project, mark, kept, values, choice, backbone.logit_scale)
        return head

    def _check(self, project: Project, mark: str, kept: Dataset, values: np.ndarray, choice: Choice, scale: float) -> None:
        """Look for mistakes in the pictures. The preview is there by now and does not depend on it."""
        from exporters.checker import Qualities, check

        assert self._text is not None
        try:
            thumbs = {item.sha256: path for item in kept.items if (path := project.blobs.thumbnail(item.sha256)).is_file()}
            qualities = Qualities(self.folder.path / "qualities.json").of(kept.items, thumbs)
            found = check(mark, kept, values, self._text[1], choice, scale, qualities)
        except Exception:
            traceback.print_exc()
            found = Check(mark, failed=True)
        self._stay()
        found.write(self.folder.check)

    def _stay(self) -> None:
        """Raise ProjectError where the project is gone: writing would make a folder of its name again."""
        if not self.folder.path.is_dir():
            raise ProjectError("This project is no longer there.", "It is in the trash, or was moved.")

    def _open(self, dataset: Dataset, say: Say) -> tuple[Backbone, OnnxClassifier]:
        """The backbone in torch, for its text tower, and as a file, for images."""
        if self._backbone is None or self._model is None:
            say("Loading the backbone", 0.0)
            from blocklora.clip.backbones import load_backbone
            from exporters.frozen import frozen_model, frozen_path

            self._backbone = load_backbone(self.name, self.home)
            if not frozen_path(self.home, self._backbone).exists():
                say("Preparing the backbone, once on this machine", 0.05)
            some = dataset.items[:: max(1, len(dataset.items) // SOME)]
            self._model = frozen_model(self.home, self._backbone, [Path(item.path) for item in some])
        return self._backbone, self._model

    @property
    def _store(self) -> Path:
        assert self._backbone is not None
        return self.folder.path / f"images-{self._backbone.weights_hash[:16]}.safetensors"

    def _embedded(self, dataset: Dataset, model: OnnxClassifier, say: Say) -> tuple[Dataset, np.ndarray]:
        """The readable images, and their embeddings (N, D); only new ones are looked at."""
        import numpy as np

        if not self._known:
            self._known = self._load()
        seen = self._known.keys() | self._unreadable
        new = {Path(item.path): item.sha256 for item in dataset.items if item.sha256 not in seen}
        said = 0.0
        for done, (path, found) in enumerate(model.predict_files(new), 1):
            if isinstance(found, ImageError):
                self._unreadable.add(new[path])
            else:
                self._known[new[path]] = found.embedding
            if time.monotonic() - said > 0.5:
                said = time.monotonic()
                say(f"Looking at the images: {done:,} of {len(new):,}", 0.1 + 0.8 * done / len(new))
        living = {item.sha256 for item in dataset.items}
        if new or len(self._known) > 2 * len(living):
            self._known = {key: value for key, value in self._known.items() if key in living}
            self._save()
        kept = [item for item in dataset.items if item.sha256 in self._known]
        values = np.stack([self._known[item.sha256] for item in kept]) if kept else np.zeros((0, 1), np.float32)
        return dataclasses.replace(dataset, items=tuple(kept)), values

    def _load(self) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._store, framework="numpy") as stream:
                names = json.loads((stream.metadata() or {})["images"])
                rows = stream.get_tensor(EMBEDDINGS)
            return dict(zip(names, rows, strict=True))
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            return {}

    def _save(self) -> None:
        import numpy as np

        if self._known:
            _write(self._store, {EMBEDDINGS: np.stack(list(self._known.values()))}, {"images": json.dumps(list(self._known))})

    def _solve(
        self, backbone: Backbone, dataset: Dataset, mark: str, values: np.ndarray, labels: list[int], began: float
    ) -> tuple[Head, Choice]:
        import torch

        from blocklora.training.class_weights import Features, closed_form

        names = dataset.class_names
        if self._text is None or self._text[0] != names:
            self._text = names, self._from_names(backbone, names)
        features = Features(torch.from_numpy(values), torch.tensor(labels))
        weights, choice = closed_form(features, self._text[1], backbone.logit_scale)
        assert self._model is not None
        head = Head(
            mark=mark,
            backbone=self.name,
            model=str(self._model.path),
            labels=names,
            class_ids=dataset.class_ids,
            correct=round(choice.before_tuning * len(labels)),
            n=len(labels),
            mode=choice.mode,
            seconds=round(time.monotonic() - began, 3),
        )
        from exporters.preview_model import WEIGHTS

        self._stay()
        _write(self.folder.head, {WEIGHTS: weights.T.contiguous().numpy()}, {"head": head.to_json()})
        return head, choice

    def _from_names(self, backbone: Backbone, names: tuple[str, ...]) -> Any:
        import torch

        from blocklora.clip.prompts import text_class_weights, tokenise
        from blocklora.config import DEFAULT_TEMPLATE

        with torch.inference_mode():
            return text_class_weights(backbone.model, tokenise(list(names), [DEFAULT_TEMPLATE], backbone)).float().clone()


def _write(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save

    from blocklora.files import write_atomic

    write_atomic(path, save(tensors, metadata))


def training_on(home: Path) -> bool:
    """Whether a run has a device or waits for one."""
    from blocklora.jobs.devices import devices
    from blocklora.jobs.turns import Turns

    turns = [Turns(home, kind) for kind in dict.fromkeys(device.kind for device in devices())]
    return any(turn.running() is not None or turn.waiting() for turn in turns)


def keep(previewer: Previewer) -> int:
    """Make the preview whenever the project's images are others, until nothing has happened for a while; returns the exit code."""
    beat(previewer.folder.heartbeat)
    known = Head.read(previewer.folder.head)
    checked = Check.read(previewer.folder.check)
    whole = known is not None and Path(known.model).is_file() and checked is not None and checked.mark == known.mark
    done, last = (known.mark if known is not None and whole else ""), time.monotonic()
    while time.monotonic() - last < IDLE_SECONDS and previewer.project_path.is_dir():
        project = Project.open(previewer.project_path)
        mark = project.mark()
        if mark != done:
            try:
                previewer.make(project, mark)
                State(mark).write(previewer.folder)
            except ProjectError:
                raise
            except StudioError as error:
                print(error, file=sys.stderr)
                State(mark, reason=error.message, advice=error.advice).write(previewer.folder)
            except Exception as error:
                traceback.print_exc()
                reason = f"Something unexpected went wrong: {type(error).__name__}: {error}"
                State(mark, reason=reason, advice="Training works without the preview.").write(previewer.folder)
            done, last = mark, time.monotonic()
        if training_on(previewer.home):
            break
        time.sleep(LOOK_SECONDS)
    return 0


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print("usage: python -m exporters.previewer PROJECT HOME BACKBONE", file=sys.stderr)
        return 2
    os.environ.setdefault(*SHARE)
    give_way()  # a training that starts meanwhile, and the window, come first
    previewer = Previewer(Path(arguments[0]).resolve(), Path(arguments[1]).resolve(), arguments[2])
    previewer.folder.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(previewer.folder.path / ".lock", timeout=0):
            return keep(previewer)
    except Timeout:
        return 0  # another one looks after it
    except StudioError as error:  # the project went to the trash
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
