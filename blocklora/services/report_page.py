"""The report as a page: facts in, HTML out. Made for paper as much as for a screen: light, no script, nothing from another address."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from blocklora.presets import PRESET_TEXTS
from blocklora.services.report_facts import Facts
from blocklora.services.report_style import STYLE
from blocklora.services.results import interval_words

TABLE_CLASSES = 16  # a confusion table of more does not fit on paper: its largest cells are listed instead
WORST = 20
WHICH = {
    "test": "test images that it never saw",
    "cross_validated": "images, each judged by a model that had not seen it",
    "held_out": "images that were kept aside",
}


def page(facts: Facts) -> str:
    """The whole page. Names and notes are a person's words and are escaped; `facts.figures` are the product's own SVG."""
    sections = (_head, _figures, _classes, _confusion, _wrong, _making, _limits, _versions)
    body = "".join(section(facts) for section in sections)
    title = escape(f"{facts.title}: report")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # a browser holds the page to what it promises
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body><main>{body}</main>"
        "<footer>Made by Block-LoRA Studio. The pictures shown are small copies.</footer></body></html>\n"
    )


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _date(seconds: float) -> str:
    return time.strftime("%d %B %Y", time.localtime(seconds))


# ---- how good


def _head(facts: Facts) -> str:
    section = _section(facts)
    title = f'<h1>{escape(facts.title)}</h1><p class="date">Model of {_date(facts.created)}</p>'
    note = f'<p class="note">{escape(facts.note)}</p>' if facts.note else ""
    if not section.get("n"):
        headline = '<p class="headline">Nobody knows yet how good it is</p><p class="lead">No images were kept aside to try it on.</p>'
        return f"{title}{headline}{note}"
    what = WHICH.get(facts.section, WHICH["held_out"])
    headline = f'<p class="headline">Right on <b>{int(section["correct"])} of {int(section["n"])}</b> {what}</p>'
    return f'{title}{headline}<p class="lead">{escape(interval_words(section))}</p>{_beside(facts, section)}{note}'


def _section(facts: Facts) -> Mapping[str, Any]:
    found = facts.result.get(facts.section)
    return found if isinstance(found, dict) else {}


def _beside(facts: Facts, section: Mapping[str, Any]) -> str:
    """What to compare with, where it was measured on the same images."""
    result, rows = facts.result, [("This model", section.get("top1"), f"{section['correct']} of {section['n']}")]
    if facts.section == "held_out":
        before = result.get("frozen") or {}
        if before.get("n"):
            rows.append(("Before training", before.get("top1"), f"{before['correct']} of {before['n']}"))
        names = result.get("zero_shot") or {}
        if names.get("offered") and names.get("n"):
            rows.append(("From the names alone", names.get("top1"), f"{names['correct']} of {names['n']}"))
    preview = result.get("preview") or {}
    if facts.section == "cross_validated" and preview.get("n"):
        rows.append(("Without training", preview.get("top1"), f"{preview['correct']} of {preview['n']}"))
    chance = (result.get("zero_shot") or {}).get("chance")
    if chance:
        rows.append(("By guessing", chance, percent(chance)))
    compared = _table(("", "", ""), ((escape(a), _bar(b), escape(c)) for a, b, c in rows), numbers=(2,), head=False)
    return f'<div class="beside">{compared}</div>'


def _figures(facts: Facts) -> str:
    """Plots that the product drew."""
    if not facts.figures:
        return ""
    drawn = "".join(f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>" for title, svg in facts.figures)
    return f'<h2>In pictures</h2><div class="figures">{drawn}</div>'


def _classes(facts: Facts) -> str:
    rows = [row for row in _section(facts).get("per_class", []) if row["n"] or row["predicted"]]
    if not rows:
        return ""
    rows.sort(key=lambda row: 2.0 if row["recall"] is None else row["recall"])
    lines = (
        (
            escape(row["name"]),
            _bar(row["recall"]),
            f"{int(row['correct'])} of {int(row['n'])}",
            percent(row["recall"]),
            percent(row["precision"]),
        )
        for row in rows
    )
    words = "Recognised: of the images of the class. Deserved: of the images that were given this name. Weakest first."
    head = ("Class", "", "Right", "Recognised", "Deserved")
    return f'<h2>Class by class</h2>{_table(head, lines, numbers=(2, 3, 4))}<p class="hint">{words}</p>'


def _confusion(facts: Facts) -> str:
    table = _section(facts).get("confusion")
    if not isinstance(table, list) or len(table) != len(facts.names):
        return ""
    title = "<h2>Who is taken for whom</h2>"
    if len(facts.names) > TABLE_CLASSES:
        worst = sorted(((n, i, j) for i, row in enumerate(table) for j, n in enumerate(row) if i != j and n), reverse=True)[:WORST]
        lines = ((escape(facts.names[i]), escape(facts.names[j]), f"{n}") for n, i, j in worst)
        return title + (_table(("True class", "Answer", "Images"), lines, numbers=(2,)) if worst else '<p class="hint">Nobody.</p>')
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in facts.names)
    rows = "".join(_confusion_row(facts.names[i], i, row) for i, row in enumerate(table))
    hint = '<p class="hint">Rows are the true classes, columns the answers.</p>'
    grid = f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'{title}{hint}<div class="wide">{grid}</div>'


def _confusion_row(name: str, true: int, row: Sequence[int]) -> str:
    total = max(1, sum(map(int, row)))
    cells = []
    for said, count in enumerate(map(int, row)):
        colour = "11, 110, 90" if said == true else "168, 50, 31"
        shade = f' style="background: rgba({colour}, {0.08 + 0.32 * count / total:.2f})"' if count else ""
        cells.append(f"<td{shade}>{count or ''}</td>")
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'


def _wrong(facts: Facts) -> str:
    if not _section(facts).get("n"):
        return ""
    if not facts.n_wrong:
        return '<h2>What it got wrong</h2><p class="hint">Nothing: every image was recognised.</p>'
    shots = []
    for shot in facts.wrong:
        words = f"{shot.true}, taken for {shot.said}"
        image = f'<img src="{shot.source}" alt="{escape(words)}">' if shot.source else '<span class="gone">no longer there</span>'
        said = f"{escape(shot.true)} → <b>{escape(shot.said)}</b> {percent(shot.sure)}"
        shots.append(f"<figure>{image}<figcaption>{said}</figcaption></figure>")
    more = f"; the {len(facts.wrong)} most certain of {facts.n_wrong:,}" if facts.n_wrong > len(facts.wrong) else ", most certain first"
    return f'<h2>What it got wrong</h2><p class="hint">True class → answer{more}.</p><div class="shots">{"".join(shots)}</div>'


# ---- how it was made


def _making(facts: Facts) -> str:
    lines = ((escape(n), f"{a:,}", f"{b:,}") for n, a, b in zip(facts.names, facts.trained, facts.held_out, strict=True))
    total = (("Together", f"{sum(facts.trained):,}", f"{sum(facts.held_out):,}"),)
    counts = _table(("Class", "Learned from", "Kept aside"), [*lines, *total], numbers=(1, 2))
    return f"<h2>What it was trained on</h2>{counts}<h2>How</h2><p>{escape(_recipe(facts))}</p>"


def _recipe(facts: Facts) -> str:
    result, training = facts.result, facts.spec.training
    title = next((text.title for text in PRESET_TEXTS if text.name == training.preset), training.preset)
    words = [
        f"The recipe {title} on the backbone {facts.backbone}: an image model that had seen many other pictures was adapted to "
        f"these classes with Block-LoRA, which trains {result.get('trainable_parameters', 0):,} additional values and leaves the rest as "
        "it is."
    ]
    if result.get("class_weights_note"):
        words.append(str(result["class_weights_note"]))
    if result.get("rotations_note"):
        words.append(str(result["rotations_note"]))
    steps = f"{result.get('steps', 0):,} steps of {training.batch_size} images were planned"
    words.append(f"{steps}, the version after {result.get('best_step', 0):,} was kept; it took {result.get('seconds', 0):,.0f} seconds.")
    if _section(facts).get("since_trained_on") or (result.get("held_out") or {}).get("since_trained_on"):
        words.append("At the end it was trained once more for as long, on the images kept aside too.")
    return " ".join(words)


def _limits(facts: Facts) -> str:
    few = [name for name, count in zip(facts.names, facts.trained, strict=True) if count < 8]
    lines = [
        "It always names one of its classes, also for a picture of something else, unless it is told from which certainty on to answer.",
        "The figures hold for images like the ones it was tried on: same kind of camera, light, background and distance.",
        "Near-identical images were kept together when some were set aside, as far as that could be told.",
    ]
    if few:
        names = ", ".join(few[:8]) + (f" and {len(few) - 8} more" if len(few) > 8 else "")
        lines.append(f"Fewer than 8 images to learn from: {names}. More varied ones would help most there.")
    return f"<h2>Limits</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _versions(facts: Facts) -> str:
    known: Mapping[str, Any] = facts.environment
    rows: list[tuple[str, Any]] = []
    if facts.file is not None:
        name, size, digest = facts.file
        rows += [("Model file", f"{name}, {size / 1e6:.1f} MB"), ("Its SHA-256", digest)]
    rows += [("Adapter's SHA-256", facts.adapter_sha256), ("Images and labels, hash", facts.spec.data_hash)]
    rows += [("Seed", facts.spec.training.seed), ("Python", known.get("python")), ("Machine", known.get("processor"))]
    rows += [("Block-LoRA Studio", f"{known.get('blocklora', '')} {str(known.get('commit', ''))[:12]}".strip())]
    rows += [("Device", known.get("device") or facts.result.get("device"))]
    packages = known.get("packages")
    if isinstance(packages, dict):
        rows.append(("Packages", ", ".join(f"{name} {found}" for name, found in packages.items())))
    lines = ((escape(str(name)), f"<code>{escape(str(value))}</code>") for name, value in rows if value not in (None, ""))
    return f"<h2>Versions</h2>{_table(('', ''), lines, head=False)}"


# ---- pieces


def _bar(share: float | None) -> str:
    return "" if share is None else f'<span class="bar"><i style="width: {100 * share:.0f}%"></i></span>'


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), head: bool = True) -> str:
    """A table; cells are HTML, the first of a row is its heading, `numbers` are columns set to the right."""

    def kind(column: int) -> str:
        return ' class="num"' if column in numbers else ""

    cells = "".join(f'<th scope="col"{kind(i)}>{escape(name)}</th>' for i, name in enumerate(titles))
    top = f"<thead><tr>{cells}</tr></thead>" if head else ""
    lines = "".join(
        "<tr>" + "".join(f"<td{kind(i)}>{body}</td>" if i else f'<th scope="row">{body}</th>' for i, body in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table>{top}<tbody>{lines}</tbody></table>"
