"""The command line of the recipe: `python -m blocklora.pretrain`, also reached as `python -m blocklora pretrain`."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from blocklora.errors import StudioError, TrainingError

EXAMPLES = """\
examples:
  # an hour and a half on a CPU; stop it or kill it, and the same command goes on
  python -m blocklora pretrain train --data shards/train-*.tar --val shards/val.tar \\
      --classes shards/classes.json --work run --out assets/builtin --minutes 90

  # be finished at ten to eight, whatever else the machine does
  python -m blocklora pretrain train ... --until 19:50

  # train a finished model further: from the checkpoint before its learning rate fell
  python -m blocklora pretrain train ... --resume-from run/before-decay.safetensors --minutes 600

  # a model from a run that is still going on
  python -m blocklora pretrain export run/latest.safetensors --data shards/train-0.tar --classes shards/classes.json --out early

  # how many validation images it names right
  python -m blocklora pretrain validate --model assets/builtin --val shards/val.tar --classes shards/classes.json

  # what its frozen features are worth on few-shot sets
  python -m blocklora pretrain eval-frozen --model assets/builtin --bench bench --sets caltech20 dtd10
"""


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m blocklora pretrain",
        description="Train a small CLIP from class folders or tar shards: the recipe of the built-in backbone.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train, or go on after a stop; ends with a validated model folder")
    train.add_argument("--data", type=Path, nargs="+", required=True, help="tar shards or folders of class folders")
    train.add_argument("--classes", type=Path, required=True, help="JSON: class id -> list of names, the most usual first")
    train.add_argument("--val", type=Path, nargs="*", default=[], help="the same for validation; never trained on")
    train.add_argument("--work", type=Path, required=True, help="folder of checkpoints, log.jsonl and decoded images")
    train.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    length = train.add_mutually_exclusive_group(required=True)
    length.add_argument("--passes", type=int, help="images to see in all, e.g. 5000000")
    length.add_argument("--minutes", type=float, help="wall-clock time in all, earlier parts of the run included")
    length.add_argument("--until", type=_clock, metavar="HH:MM", help="be finished at this local time")
    train.add_argument("--resume-from", type=Path, help="go on from this checkpoint (default: WORK/latest.safetensors if there is one)")
    train.add_argument("--start-from", type=Path, help="folder of a finished model whose weights a new run begins with")
    train.add_argument("--model-cfg", type=Path, help="JSON of an open_clip model_cfg (default: the small one of the recipe)")
    train.add_argument("--seed", type=int, default=1, help="first weights, order of images, random views (default: 1)")
    train.add_argument("--batch-size", type=int, default=256, help="images a step (default: 256)")
    train.add_argument("--muon-lr", type=float, default=0.02, help="learning rate of Muon (default: 0.02)")
    train.add_argument("--mix-fraction", type=float, default=0.1, help="share of steps with mixed images (default: 0.1)")
    train.add_argument("--decay-fraction", type=float, default=0.25, help="last part in which the learning rate falls (default: 0.25)")
    train.add_argument("--high-resolution-fraction", type=float, default=0.3, help="last part at mostly the full size (default: 0.3)")
    train.add_argument("--colour-strength", type=float, default=0.5, help="how far colours are changed, 0 to 1 (default: 0.5)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    train.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto", help="auto: bf16 where the hardware has it")
    train.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")

    export = commands.add_parser("export", help="write the model folder of a checkpoint")
    export.add_argument("checkpoint", type=Path)
    export.add_argument("--classes", type=Path, required=True, help="the class file of the run")
    export.add_argument("--out", type=Path, required=True, help="folder to write")
    export.add_argument("--data", type=Path, nargs="*", default=[], help="training images: the image projection then goes to the text side")
    export.add_argument("--image-size", type=int, help="input size that the file asks for, in pixels (default: the training size)")

    validate = commands.add_parser("validate", help="top-1 by class names on validation images, at the model's own input size")
    validate.add_argument("--model", type=Path, required=True, help="folder that `train` or `export` wrote")
    validate.add_argument("--val", type=Path, nargs="+", required=True, help="tar shards or folders of class folders")
    validate.add_argument("--classes", type=Path, required=True, help="the class file of the run")
    validate.add_argument("--image-size", type=int, help="input size in pixels (default: the model's own)")
    validate.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")

    frozen = commands.add_parser("eval-frozen", help="accuracy of class means and of logistic regression on frozen features")
    frozen.add_argument("--model", type=Path, required=True, help="folder that `train` or `export` wrote")
    frozen.add_argument("--bench", type=Path, required=True, help="folder of sets: <set>/train/<class>/*.jpg and <set>/test/<class>/*.jpg")
    frozen.add_argument("--sets", nargs="+", required=True, help="names of the sets")
    frozen.add_argument("--shots", type=int, nargs="+", default=[16], help="images a class (default: 16)")
    frozen.add_argument("--image-size", type=int, help="input size in pixels (default: the model's own)")
    frozen.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    return top


def _clock(text: str) -> datetime.datetime:
    """HH:MM -> the next time the local clock shows it."""
    try:
        wanted = datetime.datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time of day; give it as HH:MM, such as 19:50") from None
    now = datetime.datetime.now()
    moment = datetime.datetime.combine(now.date(), wanted)
    return moment if moment > now else moment + datetime.timedelta(days=1)


def _train(options: argparse.Namespace) -> None:
    from blocklora.files import read_json
    from blocklora.pretrain.config import SMALL_MODEL_CFG, Recipe
    from blocklora.pretrain.session import RunOptions, run

    model_cfg = SMALL_MODEL_CFG
    if options.model_cfg is not None:
        found = read_json(options.model_cfg)
        if not isinstance(found, dict):
            raise TrainingError(f"{options.model_cfg} holds no JSON object.", "Give an open_clip model_cfg.")
        model_cfg = found.get("model_cfg", found)
    recipe = Recipe(
        seed=options.seed,
        batch_size=options.batch_size,
        decay_fraction=options.decay_fraction,
        muon_lr=options.muon_lr,
        mix_fraction=options.mix_fraction,
        high_resolution_fraction=options.high_resolution_fraction,
        colour_strength=options.colour_strength,
    )
    run(
        RunOptions(
            data=tuple(options.data),
            classes=options.classes,
            work=options.work,
            out=options.out,
            validation=tuple(options.val),
            passes=options.passes,
            minutes=options.minutes,
            until=options.until,
            resume_from=options.resume_from,
            start_from=options.start_from,
            device=options.device,
            precision=options.precision,
        ),
        recipe,
        model_cfg,
        say=lambda line: print(line, flush=True),
    )


def _export(options: argparse.Namespace) -> None:
    import tempfile

    import torch

    from blocklora.pretrain.data import load_images, read_classes
    from blocklora.pretrain.export import export_state
    from blocklora.pretrain.names import PromptBook, read_superclasses
    from blocklora.pretrain.session import SCALE_IMAGES
    from blocklora.pretrain.state import load_state

    state = load_state(options.checkpoint, torch.device("cpu"))
    names = read_classes(options.classes)
    missing = [i for i in state.ids if i not in names]
    if missing:
        raise TrainingError(f"{options.classes} lacks {len(missing)} classes of the checkpoint, first {missing[0]}.", "Give the run's own.")
    context = state.model_cfg["text_cfg"]["context_length"]
    books = [PromptBook(group, context) for group in ([names[i] for i in state.ids], read_superclasses(state.ids)[0]) if group]
    images = None
    if options.data:
        with tempfile.TemporaryDirectory() as cache:
            side = state.model_cfg["vision_cfg"]["image_size"]
            images = torch.tensor(load_images(options.data, list(state.ids), side, Path(cache)).images[:SCALE_IMAGES].numpy())
    print(export_state(state, books, options.out, {}, options.image_size, images))


def _validate(options: argparse.Namespace) -> None:
    import tempfile

    import torch

    from blocklora.pretrain.data import load_images, read_classes
    from blocklora.pretrain.evaluate import zero_shot_top1
    from blocklora.pretrain.export import load_exported
    from blocklora.pretrain.names import PromptBook

    names = read_classes(options.classes)
    model = load_exported(options.model, options.image_size)
    # Pixels stay mapped for as long as this function lasts, and Windows removes no file that is.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        data = load_images(options.val, list(names), model.visual.image_size[0], Path(cache))
        book = PromptBook(list(names.values()), model.context_length)
        top1 = zero_shot_top1(model, data, book, torch.device("cpu"))
    print(f"top-1 {top1:.2f} % of {len(data.labels):,} images at {model.visual.image_size[0]} pixels")


def _eval_frozen(options: argparse.Namespace) -> None:
    from blocklora.pretrain.frozen import report

    report(options.model, options.bench, options.sets, options.shots, lambda line: print(line, flush=True), options.image_size)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it did what was asked, 1 with a message when something must be changed."""
    options = parser().parse_args(argv)
    try:
        if getattr(options, "threads", None):
            import torch

            torch.set_num_threads(options.threads)
        {"train": _train, "export": _export, "validate": _validate, "eval-frozen": _eval_frozen}[options.command](options)
    except StudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
