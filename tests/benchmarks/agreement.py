"""Do all ways out of the product give the same answers? `python tests/benchmarks/agreement.py BENCH_DIR --work DIR --help`.

BENCH_DIR holds `<set>/train/<class>/*.jpg` and `<set>/test/<class>/*.jpg`. For each set a project is made of a few training images a class,
trained in the product's own worker and bundled; then every test image, and pictures of odd kinds, goes through

  torch       the trained model before its adapters were merged
  app         the running window's Predict, asked by gradio_client
  predict.py  the bundle's program, in a fresh virtual environment without torch
  serve.py    the bundle's service, in the same environment
  web         the bundle's page in Chromium, from a plain static server

and is compared with the ONNX file asked directly. predict.py prints percentages with one decimal, so its probabilities are known to 0.0005.
What is done already in DIR is not done again.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import os
import random
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "browser"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from app import compose
from blocklora.errors import ImageError, StudioError
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.projects import intake
from blocklora.projects.decoding import decode_many
from exporters.predictor import OnnxClassifier

ROOT = Path(__file__).resolve().parents[2]
REFUSED = ": none of these (nearest: "  # what predict.py prints of a picture that is of none of the classes


@dataclass(frozen=True)
class Said:
    """Probabilities (C,) in the file's order, and what the rule for none of the classes says; None where there is no rule."""

    shares: np.ndarray
    known: bool | None


Answers = dict[str, Said | str]
"""By picture: probabilities (C,), or the words of a refusal. A path that gives only some classes has NaN for the others."""


def trained(home: Path, bench: Path, name: str, shots: int, steps: int) -> RunFolder:
    """The finished, exported run of the set's project; made where it is not there yet."""
    studio = compose(home)
    known = next((info for info in studio.library.list() if info.name == name), None)
    project = studio.library.open(known.id) if known is not None else studio.library.create(name)
    if known is None:
        for folder in sorted(path for path in (bench / name / "train").iterdir() if path.is_dir()):
            pictures = sorted(folder.iterdir())
            random.Random(1).shuffle(pictures)
            with contextlib.closing(intake.plan_files(project, pictures[:shots], class_name=folder.name)) as plan:
                intake.accept(project, plan)
    run = studio.finished_run(project)
    if run is None:
        config = replace(studio.preset(project, "quick", "builtin"), steps=steps)
        run = studio.start_training(project, config, "builtin")
    while run.alive():  # its worker exports before it ends
        time.sleep(1)
    if not run.onnx_path.is_file():
        raise SystemExit(f"{name} was not trained or exported: see {run.log_path}")
    if not (run.export_dir / "bundle.zip").is_file():
        studio.start_form(run, "bundle")
        while run.alive():
            time.sleep(0.5)
    return run


def odd_pictures(folder: Path, photo: Path) -> list[Path]:
    """Pictures of the kinds that decoders disagree on, made of one photograph."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        rgb = np.asarray(Image.open(photo).convert("RGB"))
        height, width = rgb.shape[:2]
        ramp = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), (height, width))
        Image.fromarray(np.dstack([rgb, ramp])).save(folder / "alpha.png")
        Image.fromarray(rgb).convert("L").save(folder / "greyscale.jpg", quality=92)
        Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg", quality=92)
        deep = np.asarray(Image.fromarray(rgb).convert("L")).astype(np.uint16) * 257 + 77
        Image.fromarray(deep).save(folder / "sixteen-bit.png")
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(rgb).save(folder / "exif-rotated.jpg", quality=92, exif=exif)
        Image.fromarray(rgb[:, width // 2 : width // 2 + 1]).save(folder / "one-pixel-wide.png")
        Image.fromarray(np.tile(rgb[: height // 4], (1, 6, 1))).save(folder / "panorama.jpg", quality=92)
        frames = [Image.fromarray(np.roll(rgb, 20 * n, axis=1)) for n in range(3)]
        frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
        Image.fromarray(rgb).convert("P").save(folder / "palette-transparent.png", transparency=7)
        (folder / "no-picture.jpg").write_bytes(b"no picture")
        (folder / "cut-off.jpg").write_bytes(photo.read_bytes()[:800])
    return sorted(folder.iterdir())


# ---- the ways


def by_file(run: RunFolder, paths: list[Path]) -> Answers:
    model = OnnxClassifier(run.onnx_path)
    return {
        str(p): str(found) if isinstance(found, ImageError) else Said(found.probabilities, found.known)
        for p, found in model.predict_files(paths)
    }


def by_torch(run: RunFolder, paths: list[Path]) -> Answers:
    from exporters.loading import load_run

    classifier = load_run(run, RunSpec.from_dict(run.spec())).classifier

    def ask(pixels: np.ndarray) -> Said:
        answer = classifier.ask(pixels)
        return Said(answer.probabilities, None if answer.familiar is None else answer.familiar.known)

    return {str(p): str(x) if isinstance(x, ImageError) else ask(x) for p, x in decode_many(paths)}


def by_app(url: str, project: str, labels: list[str], paths: list[Path]) -> Answers:
    from gradio_client import Client, handle_file

    client, found = Client(url, verbose=False), {}
    for path in paths:
        try:
            answer = client.predict(image=handle_file(str(path)), project=project, api_name="/predict")
            found[str(path)] = Said(_spread(answer["top"], labels), answer["known"])
        except Exception as error:  # gradio_client raises its own kinds; a refusal is an answer here
            found[str(path)] = str(error)
    return found


def by_program(python: Path, folder: Path, labels: list[str], paths: list[Path]) -> Answers:
    found: Answers = {}
    for start in range(0, len(paths), 200):
        part = [str(path) for path in paths[start : start + 200]]
        # 1: something in it was no picture, which is an answer here.
        done = subprocess.run(
            [str(python), "-E", "predict.py", "--top", str(len(labels)), *part], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr)
        for line in done.stdout.splitlines():
            head, refused, words = line.partition(REFUSED)
            path, _, words = (head, "", words.removesuffix(")")) if refused else line.rpartition(": ")
            pairs = [entry.rsplit(" ", 1) for entry in words.split("%, ")]
            # Two labels may be printed with the same percentage: the order in which they are printed is the answer.
            ranked = [(label, float(share.rstrip("%")) / 100 - 1e-9 * rank) for rank, (label, share) in enumerate(pairs)]
            found[path] = Said(_spread(ranked, labels), not refused)
        for line in done.stderr.splitlines():
            path, _, reason = line.partition(": not read")
            found.setdefault(path, reason)
    return found


def by_service(url: str, labels: list[str], paths: list[Path]) -> Answers:
    found: Answers = {}
    with httpx.Client(timeout=60) as client:
        for path in paths:
            answer = client.post(f"{url}/predict", params={"top": len(labels)}, files={"file": (path.name, path.read_bytes())})
            told = answer.json()
            found[str(path)] = Said(_spread(told["top"], labels), told["known"]) if answer.is_success else told["detail"]
    return found


ASK = """async (address) => {
  try {
    const said = await ask(await decodeFile(await (await fetch(address)).blob()));
    return { shares: [...said.probabilities], known: said.known };
  }
  catch (error) { return String(error.message || error); }
}"""


def by_page(page: Any, folder: Path, paths: list[Path]) -> Answers:
    """Pictures are reached through links inside the served folder."""
    found: Answers = {}
    for number, path in enumerate(paths):
        link = folder / f"picture-{number}{path.suffix}"
        link.symlink_to(path)
        answer = page.evaluate(ASK, f"../{link.name}")
        found[str(path)] = answer if isinstance(answer, str) else Said(np.array(answer["shares"]), answer["known"])
        link.unlink()
    return found


def _spread(top: Any, labels: list[str]) -> np.ndarray:
    shares = np.full(len(labels), np.nan)
    for label, share in top:
        shares[labels.index(label)] = share
    return shares


# ---- what they run on


@contextlib.contextmanager
def process(command: list[str], folder: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """A server for as long as the block lasts."""
    with (folder / "server.log").open("w") as log:
        running = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 180
        while not ready():
            if running.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[1]} did not start: see {folder / 'server.log'}")
            time.sleep(0.2)
        yield
    finally:
        running.terminate()
        running.wait(30)


def answers_at(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            return httpx.get(url, timeout=5).is_success
        except httpx.HTTPError:
            return False

    return ready


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def page_of(folder: Path) -> Iterator[Any]:
    """The bundle's page, its model loaded."""
    from playwright.sync_api import expect, sync_playwright
    from studio_window import launch

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/web/")
        expect(page.locator("#status")).to_have_text("Ready.", timeout=120_000)
        yield page
        browser.close()
    server.shutdown()


def fresh_python(work: Path, requirements: Path) -> Path:
    """A virtual environment with what the bundle's requirements.txt names, and nothing else."""
    python = work / "venv" / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(work / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(requirements)], check=True)
    if subprocess.run([str(python), "-c", "import torch"], capture_output=True, check=False).returncode == 0:
        raise SystemExit("the fresh environment has torch in it")
    return python


def port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- comparing


def compare(expected: Answers, found: Answers) -> dict[str, Any]:
    """How one way agrees with the file: other first answers, other answers of the rule, largest difference, refusals by one side alone."""
    off: dict[str, float] = {}
    others, otherwise_known, refused_alone, n = [], [], [], 0
    for path, wanted in expected.items():
        given = found.get(path, "no answer")
        if isinstance(wanted, str) or isinstance(given, str):
            if isinstance(wanted, str) != isinstance(given, str):
                refused_alone.append(path)
            continue
        n += 1
        if int(np.nanargmax(given.shares)) != int(wanted.shares.argmax()):
            lead = float(np.sort(wanted.shares)[-1] - np.sort(wanted.shares)[-2])
            others.append([path, lead])
        if wanted.known is not None and given.known != wanted.known:
            otherwise_known.append(path)
        off[path] = float(np.nanmax(np.abs(given.shares - wanted.shares)))
    return {
        "pictures": n,
        "other_top1": others,
        "other_known": otherwise_known,
        "largest": max(off.values(), default=0.0),
        "worst": sorted(((round(value, 7), Path(path).name) for path, value in off.items()), reverse=True)[:5],
        "p99": float(np.quantile([*off.values()], 0.99)) if off else 0.0,
        "refused_by_one": refused_alone,
    }


def measure(run: RunFolder, paths: list[Path], tools: dict[str, Any], name: str, work: Path) -> dict[str, Any]:
    """Every way on the same pictures."""
    folder = work / f"bundle-{name}"
    if not folder.is_dir():
        with zipfile.ZipFile(run.export_dir / "bundle.zip") as archive:
            archive.extractall(folder)
    python = fresh_python(work, folder / "requirements.txt")
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    expected = by_file(run, paths)
    result = {"torch": compare(expected, by_torch(run, paths))}
    result["app"] = compare(expected, by_app(tools["url"], name, labels, paths))
    result["predict.py"] = compare(expected, by_program(python, folder, labels, paths))
    service = port()
    url = f"http://127.0.0.1:{service}"
    with process([str(python), "serve.py", "--port", str(service)], folder, answers_at(f"{url}/health")):
        result["serve.py"] = compare(expected, by_service(url, labels, paths))
    with page_of(folder) as page:
        result["web"] = compare(expected, by_page(page, folder, paths))
    return result


def table(results: dict[str, Any]) -> str:
    head = "pictures", "way", "compared", "other first answer", "otherwise none of these", "largest difference", "refused by one side"
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name, ways in results.items():
        for way, row in ways.items():
            counts = [row["pictures"], len(row["other_top1"]), len(row["other_known"]), f"{row['largest']:.1e}", len(row["refused_by_one"])]
            lines.append(f"| {name} | {way} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="projects, bundles and results; kept")
    parser.add_argument("--sets", nargs="+", default=["caltech20", "dtd10", "clothing10", "grocery12", "rsscn7"])
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--limit", type=int, help="test images a set (default: all)")
    args = parser.parse_args()
    work, bench = args.work.resolve(), args.bench.resolve()
    home, out = work / "home", work / "agreement.json"
    work.mkdir(parents=True, exist_ok=True)
    results = json.loads(out.read_text()) if out.is_file() else {}
    runs = {name: trained(home, bench, name, args.shots, args.steps) for name in args.sets}
    window = port()
    url = f"http://127.0.0.1:{window}"
    command = [sys.executable, str(ROOT / "app.py"), "--no-browser", "--port", str(window), "--home", str(home)]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with process(command, work, answers_at(url)):
        for name, run in runs.items():
            if name in results:
                continue
            paths = sorted((bench / name / "test").rglob("*.jpg"))[: args.limit]
            results[name] = measure(run, paths, {"url": url}, name, work)
            out.write_text(json.dumps(results, indent=1))
        first = args.sets[0]
        if "odd kinds" not in results:
            odd = odd_pictures(work / "odd", sorted((bench / first / "test").rglob("*.jpg"))[0])
            results["odd kinds"] = measure(runs[first], odd, {"url": url}, first, work)
            out.write_text(json.dumps(results, indent=1))
    print(table(results))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StudioError as error:
        sys.exit(str(error))
