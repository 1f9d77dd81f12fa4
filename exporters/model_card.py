"""The README of a bundle: a model card in the Hugging Face layout, written from the run's own records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blocklora.clip.catalog import BackboneInfo
from blocklora.reject import Wish
from blocklora.services.results import headline

LICENCES = {"MIT": "mit", "Apache-2.0": "apache-2.0"}
TABLE_CLASSES = 20  # a confusion table of more is not read; the worst confusions are listed instead
WORST = 15
WANTED = 0.95  # share of right answers that a threshold is looked for
LEVELS = (0.0, 0.5, 0.7, 0.9)
NAMED = 30  # classes that the first sentence names


@dataclass(frozen=True)
class Facts:
    """What a card is written from.

    `result` is the run's result.json, `counts` the training and held-out images of each class, `report` export.json with the parity gate's
    record, `files` what else is in the bundle: (name, what it is). `retrained` says that the file learned from the held-out images too,
    after they had been measured.
    """

    title: str
    labels: Sequence[str]
    counts: Sequence[tuple[int, int]]
    backbone: BackboneInfo
    result: Mapping[str, Any]
    report: Mapping[str, Any]
    files: Sequence[tuple[str, str]]
    adapter: Mapping[str, Any]
    web_missing: str = ""
    retrained: bool = False

    @property
    def has_rule(self) -> bool:
        """Whether the file ever says that a picture is of none of its classes."""
        wish = Wish.from_dict(self.report.get("reject"))
        return wish is not None and not wish.always

    @property
    def learned(self) -> list[int]:
        """How many images of each class the file learned from."""
        return [train + held if self.retrained else train for train, held in self.counts]


def model_card(facts: Facts) -> str:
    """The card as Markdown, its front matter first."""
    title = f"# {cell(facts.title)}"
    parts = [_front_matter(facts), title, _summary(facts), _accuracy(facts), _confusion(facts), _threshold(facts), _data(facts)]
    parts += [_use(facts), _limits(facts)]
    parts += [_making(facts), _licence(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def cell(text: str) -> str:
    """A person's words inside Markdown: nothing in them is markup, a table's cell stays one cell."""
    out = "".join(f"\\{letter}" if letter in "\\`*_{}[]<>()#+!|~" else letter for letter in " ".join(text.split()))
    return out or "(no name)"


def quoted(text: str) -> str:
    """A person's words as a YAML string."""
    import json

    return json.dumps(text, ensure_ascii=True)  # every JSON string is a YAML one


BESIDE = {
    "test": (),
    "cross_validated": (("preview", "without training, on the same images"),),
    "held_out": (("frozen", "before training, class weights alone"), ("zero_shot", "by class names alone")),
}
"""What stands beside the headline: figures of the same images."""


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _front_matter(facts: Facts) -> str:
    licence = LICENCES.get(facts.backbone.licence)
    lines = ["---", "library_name: onnx", "pipeline_tag: image-classification", "tags: [image-classification, few-shot, clip, onnx]"]
    lines += [f"license: {licence}"] if licence else ["license: other", f"license_name: {quoted(facts.backbone.licence)}"]
    if facts.backbone.repository:
        lines.append(f"base_model: {facts.backbone.repository}")
    section = measured(facts.result)
    if section:
        lines += ["model-index:", f"  - name: {quoted(facts.title)}", "    results:", "      - task: {type: image-classification}"]
        lines += [f"        dataset: {{type: images, name: {quoted(_which(facts.result))}}}"]
        lines += [f"        metrics: [{{type: accuracy, value: {section['top1']:.4f}}}]"]
    return "\n".join([*lines, "---"])


def measured(result: Mapping[str, Any]) -> dict[str, Any]:
    """The section of a result that its headline comes from; empty where nothing was measured."""
    found = headline(result)
    return dict(found.section) if found.n else {}


def _which(result: Mapping[str, Any]) -> str:
    return {"test": "test images", "cross_validated": "images", "held_out": "held-out images"}[headline(result).kind]


def _summary(facts: Facts) -> str:
    names = ", ".join(cell(label) for label in facts.labels[:NAMED])
    more = f" and {len(facts.labels) - NAMED} more" if len(facts.labels) > NAMED else ""
    return (
        f"Tells {len(facts.labels)} classes of pictures apart: {names}{more}. `model.onnx` takes 8-bit pictures of any size and gives a "
        f"probability for each class; preprocessing is inside. It is {facts.backbone.title}, fine-tuned with Block-LoRA on "
        f"{sum(facts.learned):,} pictures."
    )


def _how(facts: Facts) -> str:
    """What the judging model had not seen."""
    folds, all_learned = facts.result.get("cross_validated", {}).get("folds"), facts.retrained or not any(held for _, held in facts.counts)
    if headline(facts.result).kind == "cross_validated":
        this = "this file learned from all of them" if all_learned else "this file learned from those that were not kept aside"
        return f", each judged by a model that had not seen it ({folds}-fold cross-validation; {this})"
    return " that it was not trained on"


def _accuracy(facts: Facts) -> str:
    section = measured(facts.result)
    if not section:
        return "## How good\n\nNo picture was kept aside, so nothing was measured on pictures it was not trained on."
    low, high = section["interval"]
    since = " Afterwards it was trained anew on all pictures, these included." if section.get("since_trained_on") else ""
    lines = [
        "## How good",
        "",
        f"Right on **{section['correct']} of {section['n']} {_which(facts.result)}**{_how(facts)}: "
        f"{percent(section['top1'])}, 95 % interval {percent(low)} to {percent(high)} (Wilson).{since}",
        "",
        "| | right | of | |",
        "| --- | --- | --- | --- |",
        f"| this model | {section['correct']} | {section['n']} | {percent(section['top1'])} |",
    ]
    for key, words in BESIDE[headline(facts.result).kind]:
        row = facts.result.get(key)
        if isinstance(row, dict) and row.get("n") and row.get("offered", True):
            lines.append(f"| {words} | {row['correct']} | {row['n']} | {percent(row['top1'])} |")
    return "\n".join(lines)


def _confusion(facts: Facts) -> str:
    table = measured(facts.result).get("confusion")
    if not isinstance(table, list) or len(table) != len(facts.labels):
        return ""
    if len(facts.labels) > TABLE_CLASSES:
        worst = sorted(((n, i, j) for i, row in enumerate(table) for j, n in enumerate(row) if i != j and n), reverse=True)[:WORST]
        rows = [f"| {cell(facts.labels[i])} | {cell(facts.labels[j])} | {n} |" for n, i, j in worst]
        return "\n".join(["## What is taken for what", "", "| is | was taken for | times |", "| --- | --- | --- |", *rows])
    head = "| is, was taken for | " + " | ".join(cell(label) for label in facts.labels) + " |"
    rows = [f"| {cell(label)} | " + " | ".join(str(n) for n in row) + " |" for label, row in zip(facts.labels, table, strict=True)]
    return "\n".join(["## What is taken for what", "", head, "| --- |" + " --- |" * len(facts.labels), *rows])


def threshold(images: Sequence[Mapping[str, Any]], wanted: float = WANTED) -> float | None:
    """The lowest probability from which on answers were right on at least a share `wanted` of pictures; None where there is none."""
    ranked = sorted(((float(i["probability"]), i["predicted"] == i["label"]) for i in images), reverse=True)
    best, right = None, 0
    for number, (probability, correct) in enumerate(ranked, 1):
        right += correct
        last = number == len(ranked) or ranked[number][0] < probability  # equal probabilities stand or fall together
        if last and right >= wanted * number:
            best = probability
    return best


def _threshold(facts: Facts) -> str:
    """What a person gains by not taking answers below a probability."""
    images = measured(facts.result).get("images")
    if not isinstance(images, list) or not images or "probability" not in images[0]:
        return ""
    lines = ["## When to doubt an answer", "", "| take answers from | answered | right of those |", "| --- | --- | --- |"]
    found = threshold(images)
    levels = sorted({*LEVELS, *([] if found is None else [math.floor(found * 1000) / 1000])})
    for level in levels:
        taken = [i for i in images if float(i["probability"]) >= level]
        right = sum(i["predicted"] == i["label"] for i in taken)
        share = f"{right} of {len(taken)}" if taken else "none"
        mark = "**" if found is not None and level == math.floor(found * 1000) / 1000 else ""
        lines.append(f"| {mark}{100 * level:.1f} %{mark} | {len(taken)} of {len(images)} | {share} |")
    words = f"From no probability on were {percent(WANTED)} of the answers right."
    if found is not None:
        words = f"From the threshold in bold on, at least {percent(WANTED)} of the answers were right."
    lines += ["", f"{words} Measured on the same {len(images)} pictures: a guide, not a promise."]
    if facts.has_rule:
        lines += [
            "",
            "The output `known` is false for a picture that the model takes for none of its classes; the programs beside it say so too.",
        ]
    return "\n".join(lines)


def _data(facts: Facts) -> str:
    rows = [
        f"| {cell(label)} | {learned} | {held} |"
        for label, learned, (_, held) in zip(facts.labels, facts.learned, facts.counts, strict=True)
    ]
    kept = "of them kept aside at first, to measure" if facts.retrained else "kept aside"
    return "\n".join(["## What it was trained on", "", f"| class | training pictures | {kept} |", "| --- | --- | --- |", *rows])


def _use(facts: Facts) -> str:
    files = "\n".join(f"| `{name}` | {words} |" for name, words in facts.files)
    web = "The page runs from any static server: `python -m http.server 8000` in this folder, then http://localhost:8000/web/ in a browser."
    if facts.web_missing:
        web = f"The folder `web/` is not in this bundle: {facts.web_missing}"
    return f"""## How to use it

```bash
pip install -r requirements.txt
python verify.py
python predict.py photo.jpg holiday/
python serve.py --port 8000
```

{web}

| file | what it is |
| --- | --- |
{files}"""


def _limits(facts: Facts) -> str:
    section = measured(facts.result)
    few = min(facts.learned, default=0)
    strange = "- It answers with one of its classes whatever the picture shows; it cannot say that a picture shows none of them. "
    if facts.has_rule:
        strange = "- It can say that a picture shows none of its classes (`known`), and overlooks some that look like them. "
    lines = [
        "## Limits",
        "",
        f"{strange}Treat a low probability as a question, not an answer.",
        "- Pictures taken elsewhere, by another camera or in other light than the training pictures are harder than the figures above say.",
    ]
    if section:
        lines.append(f"- The accuracy was measured on {section['n']} pictures; the interval says how little that may be.")
    if few:
        lines.append(f"- The class with the fewest training pictures has {few}.")
    temperature = facts.result.get("temperature")
    if isinstance(temperature, (int, float)):
        lines.append(f"- Probabilities were calibrated on held-out pictures (temperature {temperature:.2f}, inside the file).")
    return "\n".join(lines)


def _making(facts: Facts) -> str:
    checked, worst = facts.report.get("checked", {}), facts.report.get("worst", {})
    adapter = facts.adapter
    lines = ["## How it was made", ""]
    if adapter:
        lines.append(
            f"- Block-LoRA (arXiv 2501.16720): rank {adapter.get('rank')}, {adapter.get('blocks')} blocks, merged into the weights; "
            f"{facts.result.get('steps_done', '?')} steps, preset {facts.result.get('preset', '?')}."
        )
    if facts.result.get("rotations_note"):
        lines.append("- It looks at all four quarter turns of a picture and answers from their mean: the same whichever side is up.")
    if checked:
        lines.append(
            f"- `model.onnx` was held against the trained model on {checked.get('images')} pictures, in batches of 1, 2 and 5: largest "
            f"difference of a probability {worst.get('probability', 0.0):.1g} (`parity.json`)."
        )
    lines.append(f"- SHA-256 of `model.onnx`: `{facts.report.get('sha256', '')}`")
    return "\n".join(lines)


def _licence(facts: Facts) -> str:
    where = f" ([{facts.backbone.repository}](https://huggingface.co/{facts.backbone.repository}))" if facts.backbone.repository else ""
    return (
        f"## Licence\n\nThe weights are a changed copy of {facts.backbone.title}{where}, whose licence goes on to hold: "
        f"{cell(facts.backbone.licence)}. The pictures it was trained on are not in this bundle, except the one that `verify.py` uses."
    )
