"""`check` on class folders: a planted copy is named with its file, left-out files are told, and the exit code is 0."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from blocklora.cli.parser import main

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from tiny_backbone import write_tiny_backbone


def test_check_names_files_and_exits_with_0(data_home: Path, sample_pictures: Path, capsys: pytest.CaptureFixture) -> None:
    write_tiny_backbone(data_home)
    first = sorted((sample_pictures / "class-0").glob("*.png"))[0]
    with Image.open(first) as picture:
        picture.convert("RGB").resize((150, 150)).save(sample_pictures / "class-1" / "copy.jpg", quality=92)
        picture.convert("RGB").resize((40, 40)).save(sample_pictures / "class-2" / "speck.png")
    (sample_pictures / "class-0" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    words = ["check", str(sample_pictures), "--backbone", "tiny"]
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert "broken.jpg" in err and said["pictures"] == 26
    copies = next(group for group in said["alike"] if any(row["file"].endswith("copy.jpg") for row in group))
    assert str(first) in [row["file"] for row in copies] and {"class-0", "class-1"} <= {row["class"] for row in copies}
    assert [(Path(row["file"]).name, row["why"]) for row in said["hard_to_see"] if row["why"] == "tiny"] == [("speck.png", "tiny")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "look alike: " in shown and "tiny: " in shown and "findings in 26 pictures" in shown


def test_check_refuses_what_is_no_set_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "one").mkdir()
    Image.new("RGB", (30, 30)).save(tmp_path / "one" / "a.png")
    assert main(["check", str(tmp_path), "--json"]) == 1
    assert "at least two" in json.loads(capsys.readouterr().out)["error"]
