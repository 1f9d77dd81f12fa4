"""What may be typed after `python -m blocklora`, and where it goes. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence

from blocklora import __version__
from blocklora.cli.options import TRAINING_NUMBERS
from blocklora.config import CLASS_WEIGHTS, DEVICES, PRECISIONS, PRESETS, RETRAIN, ROTATIONS, SCALINGS, TARGETS, TOWERS, TrainingConfig
from blocklora.errors import StudioError
from blocklora.presets import BUILTIN, DEFAULT

EXAMPLES = """examples:
  python -m blocklora check photos/
  python -m blocklora train photos/ --out runs/first --preset quick
  python -m blocklora export runs/first --out model.onnx
  python -m blocklora predict model.onnx holiday/ --csv answers.csv
  python -m blocklora evaluate model.onnx test-photos/ --json
  python -m blocklora explain model.onnx photo.jpg --out heat.png
  python -m blocklora report runs/first --out report.html
  python -m blocklora reproduce runs/first
  python -m blocklora serve --port 7861
"""


def _train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train", help="train on a folder of class folders, a zip or a project", epilog=EXAMPLES, formatter_class=_Raw
    )
    parser.add_argument("data", metavar="DATA", help="folder with one folder of pictures a class, a zip of such, or a project's name")
    parser.add_argument("--out", required=True, metavar="RUN", help="folder for the run (must not hold one yet)")
    parser.add_argument("--preset", choices=PRESETS, default=DEFAULT)
    parser.add_argument("--backbone", default=BUILTIN, metavar="NAME", help="see `backbones` (default: the built-in one)")
    parser.add_argument("--rank", type=int, metavar="R", help="rank of the update (default 2)")
    parser.add_argument("--blocks", type=int, metavar="N", help="up-projections that share one down-projection (default 2)")
    parser.add_argument("--alpha", type=float, metavar="A", help="strength of the update (default 1)")
    parser.add_argument("--scaling", choices=SCALINGS, help="alpha / sqrt(rank) or alpha / rank (default sqrt)")
    parser.add_argument("--dropout", type=float, metavar="P", help="share of the adapter's inputs dropped in training (default 0.25)")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, help="adapted projections (default q k v)")
    parser.add_argument("--towers", nargs="+", choices=TOWERS, help="adapted towers (default both)")
    parser.add_argument("--last-layers", type=int, metavar="K", help="adapt only the last K layers, 64: all (default: by preset)")
    parser.add_argument("--template", action="append", metavar="T", help="prompt with {} for the class name; may be given several times")
    parser.add_argument("--class-weights", choices=CLASS_WEIGHTS, help="where class weights come from (default: by preset)")
    for name in TRAINING_NUMBERS:
        about = TrainingConfig.__dataclass_fields__[name]
        kind = int if str(about.type).startswith("int") else float
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=f"{about.metadata['doc']} Default: by preset.")
    parser.add_argument("--precision", choices=PRECISIONS, help="number format of the forward pass (default: auto)")
    parser.add_argument("--held-out", type=float, metavar="SHARE", help="share of the images kept to measure with (default 0.2)")
    parser.add_argument("--retrain", choices=RETRAIN, help="whether the file is trained anew on all images at the end (default: by preset)")
    rotations = (
        "whether quarter turns of pictures are learned from, and all four looked at (default: by preset; auto: where they have no top)"
    )
    parser.add_argument("--rotations", choices=ROTATIONS, help=rotations)
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument(
        "--test", metavar="DIR", help="folder of class folders to measure on, never trained on (default: those of a project)"
    )
    others = "folder or zip of pictures of none of the classes: never trained on, they show when to answer “none of these”"
    parser.add_argument("--others", metavar="DIR", help=others)
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(action="train")


def _models(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("export", help="write the ONNX file of a run, or what it makes", epilog=EXAMPLES, formatter_class=_Raw)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--out", metavar="FILE", help="where to write the .onnx file")
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="number format of that file (default fp32)")
    parser.add_argument("--bundle", metavar="ZIP", help="everything that using it takes: programs, service, web page, model card")
    parser.add_argument("--checkpoint", metavar="ZIP", help="the merged model as an open_clip checkpoint")
    parser.add_argument("--lora", metavar="ZIP", help="the adapters as an ordinary LoRA that PEFT loads")
    parser.add_argument("--dataset", metavar="ZIP", help="the labelled pictures with their split")
    parser.add_argument("--rename", nargs=2, action="append", metavar=("OLD", "NEW"), help="give a class another name first")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(action="export")
    parser = commands.add_parser("predict", help="label pictures with an ONNX file", epilog=EXAMPLES, formatter_class=_Raw)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--csv", metavar="FILE", help="also write a table; killed, the same command goes on where it was")
    parser.add_argument("--parquet", metavar="FILE", help="also write a Parquet file (pyarrow)")
    parser.add_argument("--sort-into", metavar="DIR", help="also copy every picture into DIR, into a folder for its class")
    parser.add_argument("--link", action="store_true", help="with --sort-into: links (hard where possible) instead of copies")
    parser.add_argument("--top", type=_at_least_one, default=3, metavar="K", help="labels a picture (default 3)")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(action="predict")
    parser = commands.add_parser(
        "evaluate", help="measure an ONNX file on a folder of class folders", epilog=EXAMPLES, formatter_class=_Raw
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="print one object: top1 (0..1), n, per_class")
    parser.set_defaults(action="evaluate")


def _looking(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("explain", help="which parts of a picture an answer comes from", epilog=EXAMPLES, formatter_class=_Raw)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("--out", required=True, metavar="PNG", help="where to write the picture with the heat map over it")
    parser.add_argument("--label", metavar="NAME", help="the class to explain (default: the most probable one)")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(action="explain")
    parser = commands.add_parser("report", help="write a page about a run, to send or print", epilog=EXAMPLES, formatter_class=_Raw)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--out", required=True, metavar="HTML")
    parser.set_defaults(action="report")
    parser = commands.add_parser("reproduce", help="train a run again and compare what comes out", epilog=EXAMPLES, formatter_class=_Raw)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--out", metavar="RUN", help="folder for the new run (default: beside the old one)")
    parser.add_argument("--pictures", metavar="DIR", help="where to look for pictures that are no longer where they were, by content")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(action="reproduce")


def _check(commands: argparse._SubParsersAction) -> None:
    words = "find wrong labels, copies and poor pictures before training"
    parser = commands.add_parser("check", help=words, epilog=EXAMPLES, formatter_class=_Raw)
    parser.add_argument("data", metavar="DATA", help="folder with one folder of pictures a class, a zip of such, or a project's name")
    parser.add_argument("--backbone", default=BUILTIN, metavar="NAME", help="see `backbones` (default: the built-in one)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(action="check")


def _at_least_one(words: str) -> int:
    number = int(words)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few; 1 is the least")
    return number


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the examples."""


def build() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m blocklora", description="Block-LoRA Studio without a window.", epilog=EXAMPLES, formatter_class=_Raw
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _check(commands)
    _train(commands)
    _models(commands)
    _looking(commands)
    for name, words in (("backbones", "list backbones with size, licence and where each is; fetch one"), ("projects", "list projects")):
        listing = commands.add_parser(name, help=words)
        listing.add_argument("--json", action="store_true")
        listing.set_defaults(action=name)
        if name == "backbones":
            listing.add_argument("--download", metavar="NAME", help="fetch a known one first; goes on where an earlier try stopped")
            listing.add_argument("--use-file", nargs=2, metavar=("NAME", "FILE"), help="make a known one of its .safetensors file first")
        if name == "projects":
            one = listing.add_mutually_exclusive_group()
            one.add_argument("--add", metavar="FOLDER", help="copy a project's folder into the data home, then list")
            one.add_argument("--trash", action="store_true", help="list what is in the trash instead")
            one.add_argument("--restore", metavar="ID", help="take a project out of the trash, then list")
    for name, words in (
        ("serve", "open the window (same as app.py)"),
        ("pretrain", "train the built-in backbone from its recipe"),
        ("benchmark", "the paper's claims, put to the test"),
    ):
        commands.add_parser(name, help=words, add_help=False).set_defaults(action=name)
    return parser


def _dispatch(args: argparse.Namespace) -> int:
    """Call the command; each is imported only when it is asked for."""
    if args.action == "train":
        from blocklora.cli import train

        return train.run(args)
    if args.action in ("backbones", "projects"):
        from blocklora.cli import lists

        return getattr(lists, args.action)(args)
    if args.action == "check":
        from blocklora.cli.check import check

        return check(args)
    if args.action == "export":
        from blocklora.cli import export

        return export.export(args)
    if args.action == "predict":
        from blocklora.cli.predict import predict

        return predict(args)
    if args.action in ("explain", "report", "reproduce"):
        import importlib

        return int(getattr(importlib.import_module(f"blocklora.cli.{args.action}"), args.action)(args))
    from blocklora.cli import models

    return getattr(models, args.action)(args)


def _speak_utf8() -> None:
    """Let what goes into a file or another program be UTF-8, as in all files of ours: what Windows takes instead lacks most letters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _speak_utf8()
    # These have parsers of their own, which also answer --help.
    if words[:1] == ["serve"]:
        from blocklora.cli.compose import studio
        from blocklora.ui import server

        return server.main(words[1:], studio, "python -m blocklora serve")
    if words[:1] == ["pretrain"]:
        from blocklora.pretrain.__main__ import main as pretrain

        return pretrain(words[1:])
    if words[:1] == ["benchmark"]:
        from blocklora.experiments.__main__ import main as benchmark

        return benchmark(words[1:])
    args = build().parse_args(words)
    try:
        code = _dispatch(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except StudioError as error:
        if getattr(args, "json", False):
            print(json.dumps({"error": error.message, "advice": error.advice}, ensure_ascii=False))
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
