"""The list of backbones: what it says agrees with open_clip, and it sees what is on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch

from blocklora.clip import catalog
from blocklora.clip.build import build_model
from blocklora.clip.catalog import KNOWN, BackboneInfo, config_of, folder_of, list_backbones
from blocklora.errors import BackboneError
from blocklora.presets import BUILTIN, BUILTIN_SMALL, is_builtin


@pytest.mark.parametrize("info", KNOWN, ids=lambda info: info.name)
def test_known_ones_agree_with_open_clip(info: BackboneInfo) -> None:
    tag = open_clip.get_pretrained_cfg(info.model, info.tag)
    assert tag["hf_hub"].rstrip("/") == info.repository
    with torch.device("meta"):
        cfg = open_clip.get_model_config(info.model)
        model = build_model(cfg)
    assert info.resolution == cfg["vision_cfg"]["image_size"]
    assert info.size_mb == pytest.approx(4 * sum(p.numel() for p in model.parameters()) / 1e6, abs=1)
    assert info.licence and info.title and info.good_for and "%" in info.zero_shot
    assert not info.builtin


def test_names_are_unique_and_safe_as_folders() -> None:
    names = [info.name for info in KNOWN]
    assert len(set(names)) == len(names)
    assert all(name == Path(name).name and not is_builtin(name) for name in names)


def test_where_each_is(tmp_path: Path, backbone_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "BUILTIN_FOLDER", backbone_folder)
    for name in ("ViT-B-32", "mine"):
        shutil.copytree(backbone_folder, tmp_path / "backbones" / name)
    half = tmp_path / "backbones" / "half"
    half.mkdir()
    shutil.copy(backbone_folder / catalog.CONFIG_FILE, half)
    where = {info.name: info.where for info in list_backbones(tmp_path)}
    assert where["builtin"] == "built in"
    assert where["ViT-B-32"] == where["mine"] == "on this machine"
    assert where["ViT-B-16"] == "can be downloaded"
    assert "half" not in where
    assert (next(iter(where)), list(where)[-1]) == ("builtin", "mine")


def test_a_local_one_describes_itself(backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "BUILTIN_FOLDER", backbone_folder)
    path = backbone_folder / catalog.CONFIG_FILE
    values = {**json.loads(path.read_text(encoding="utf-8")), "studio": {"zero_shot": "12 % on something"}}
    path.write_text(json.dumps(values), encoding="utf-8")
    builtin = list_backbones(tmp_path)[0]
    assert builtin.builtin
    assert builtin.resolution == 32
    assert builtin.size_mb == pytest.approx((backbone_folder / catalog.WEIGHTS_FILE).stat().st_size / 1e6, abs=0.1)
    assert builtin.zero_shot == "12 % on something"


def test_a_smaller_input_is_offered_where_the_files_allow_one(
    backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "BUILTIN_FOLDER", backbone_folder)
    assert [info.name for info in list_backbones(tmp_path) if info.builtin] == [BUILTIN]
    with pytest.raises(BackboneError, match="one size of input only"):
        config_of(BUILTIN_SMALL, tmp_path)
    path = backbone_folder / catalog.CONFIG_FILE
    values = json.loads(path.read_text(encoding="utf-8"))
    words = {"zero_shot": "12 % on something", "licence": "a licence", "small": {"image_size": 16, "zero_shot": "11 %"}}
    path.write_text(json.dumps({**values, "studio": words}), encoding="utf-8")
    whole, small = (info for info in list_backbones(tmp_path) if info.builtin)
    assert (whole.name, whole.resolution, whole.zero_shot) == (BUILTIN, 32, "12 % on something")
    assert (small.name, small.resolution, small.zero_shot) == (BUILTIN_SMALL, 16, "11 %")
    assert "16 px" in small.title and small.licence == "a licence" and small.size_mb == whole.size_mb and small.where == whole.where
    config = config_of(BUILTIN_SMALL, tmp_path)
    assert config["model_cfg"]["vision_cfg"] == {**values["model_cfg"]["vision_cfg"], "image_size": 16}
    assert config["preprocess_cfg"] == {**values["preprocess_cfg"], "size": 16}
    assert config_of(BUILTIN, tmp_path)["model_cfg"] == values["model_cfg"]


def test_a_broken_folder_does_not_break_the_list(backbone_folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "backbones" / "bad"
    shutil.copytree(backbone_folder, bad)
    (bad / catalog.CONFIG_FILE).write_text("{", encoding="utf-8")
    assert "bad" not in {info.name for info in list_backbones(tmp_path)}


def test_what_is_under_way_is_not_offered(backbone_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(backbone_folder, tmp_path / "backbones" / ".ViT-B-32.partial")
    assert not [info.name for info in list_backbones(tmp_path) if "partial" in info.name]


def test_no_backbones_folder_is_no_problem(tmp_path: Path) -> None:
    assert {info.name for info in KNOWN} <= {info.name for info in list_backbones(tmp_path / "empty")}


def test_names_and_paths(tmp_path: Path) -> None:
    assert folder_of(BUILTIN, tmp_path) == folder_of(BUILTIN_SMALL, tmp_path) == catalog.BUILTIN_FOLDER
    assert folder_of("ViT-B-32", tmp_path) == tmp_path / "backbones" / "ViT-B-32"
    assert folder_of(str(tmp_path / "x"), tmp_path) == tmp_path / "x"
