"""Zips from people and from enemies: classes from folders, each bad member named with its reason, nothing written before acceptance."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from projects_helpers import encoded, files_below, giant_png

from blocklora.errors import ImportRefused
from blocklora.projects.intake import accept, discard, plan_zip
from blocklora.projects.limits import DEFAULT_LIMITS
from blocklora.projects.project import Project

MakeZip = Callable[..., Path]


def reasons(plan_or_list: object) -> dict[str, str]:
    return {skipped.name: skipped.kind for skipped in plan_or_list.skipped}  # type: ignore[attr-defined]


def everything_below(home: Path) -> set[str]:
    return {p.relative_to(home).as_posix() for p in home.rglob("*")}


def test_folders_are_classes(project: Project, make_zip: MakeZip) -> None:
    path = make_zip({"cats/1.png": encoded(1), "cats/2.png": encoded(2), "dogs/3.png": encoded(3)})
    plan = plan_zip(project, path)
    assert plan.classes == [("cats", 2), ("dogs", 1)] and plan.new_classes == ["cats", "dogs"] and plan.n_images == 3
    assert plan.skipped == [] and plan.warnings == []
    assert accept(project, plan).added == 3
    assert [(info.name, info.count) for info in project.classes()] == [("cats", 2), ("dogs", 1)]
    image = project.images(project.classes()[1].id).items[0]
    assert project.original(image.id).read_bytes() == encoded(3)  # byte for byte
    assert image.original_name == "dogs/3.png"


@pytest.mark.parametrize(
    ("members", "classes", "left_out"),
    [
        (["set/train/cats/1", "set/train/dogs/2"], {"cats", "dogs"}, 0),  # the last folder that holds pictures
        (["set/1", "set/cats/2", "set/dogs/3"], {"cats", "dogs"}, 1),  # the single common top folder is no class
        (["cats/1", "cats/2"], {"cats"}, 0),  # unless it is all there is
        (["cats/1", "2"], {"cats"}, 1),
        (["animals/cats/1", "animals/cats/indoor/2", "plants/oak/3"], {"cats", "indoor", "oak"}, 0),
        (["train/cats/1", "test/cats/2", "test/Cats/3"], {"cats"}, 0),  # case makes no difference
        (["r\u0065\u0301/1", "r\u00e9/2"], {"ré"}, 0),  # nor does how accents are written
    ],
)
def test_which_folder_is_the_class(project: Project, make_zip: MakeZip, members: list[str], classes: set[str], left_out: int) -> None:
    plan = plan_zip(project, make_zip({f"{name}.png": encoded(number) for number, name in enumerate(members)}))
    assert {name for name, _ in plan.classes} == classes
    assert [skipped.kind for skipped in plan.skipped] == ["unlabelled"] * left_out


def test_names_of_a_zip_made_by_the_finder_of_macos(project: Project, make_zip: MakeZip) -> None:
    """Which writes UTF-8 and does not say so."""
    names = ["A\u0308pfel/eins.png", "苹果/zwei.png", "plain/drei.png"]
    path = make_zip({name: encoded(number) for number, name in enumerate(names)})
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + flags + 1] &= ~0x08  # bit 11
            at = data.find(signature, at + 4)
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert "苹果/zwei.png" not in archive.namelist(), "this shows nothing: the names say that they are UTF-8"
    plan = plan_zip(project, path)
    assert sorted(plan.classes) == [("plain", 1), ("Äpfel", 1), ("苹果", 1)] and plan.skipped == []


def test_names_of_a_zip_from_the_first_pcs(project: Project, make_zip: MakeZip) -> None:
    path = make_zip({"Hxlle/1.png": encoded(1)})
    path.write_bytes(path.read_bytes().replace(b"Hxlle", b"H\x94lle"))  # cp437, and no UTF-8
    assert plan_zip(project, path).classes == [("Hölle", 1)]


def test_loose_pictures_can_be_given_a_class(project: Project, make_zip: MakeZip) -> None:
    plan = plan_zip(project, make_zip({"1.png": encoded(1), "cats/2.png": encoded(2)}), loose_class="Other")
    assert sorted(plan.classes) == [("Other", 1), ("cats", 1)]


def hostile(make_zip: MakeZip) -> Path:
    path = make_zip(
        {
            "set/cats/good.png": encoded(1),
            "set/cats/really-jpeg.png": encoded(2, "JPEG"),
            "set/cats/empty.png": b"",
            "set/cats/.hidden.png": encoded(3),
            "__MACOSX/set/cats/._good.png": b"resource fork",
            "set/cats/.DS_Store": b"x",
            "set/dogs/Thumbs.db": b"x",
            "set/cats/corrupt.jpg": encoded(4, "JPEG", 200)[:900],
            "set/cats/words.png": b"no picture at all",
            "set/dogs/huge.png": giant_png(),
            "set/dogs/notes.txt": b"hello",
            "set/dogs/photo.nef": encoded(5, "TIFF"),
            "set/dogs/twin.png": encoded(1),
            "set/cats/twin.png": encoded(1),
            "../../evil.png": encoded(6),
            "/etc/evil.png": encoded(7),
            "C:/evil.png": encoded(8),
            "..\\..\\evil.png": encoded(9),
            "set/cats/../../../evil.png": encoded(10),
            "set/dogs/good.png": encoded(11),
        }
    )
    link = zipfile.ZipInfo("set/cats/link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    return path


def test_each_bad_member_is_named_and_nothing_bad_is_written(project: Project, make_zip: MakeZip, data_home: Path) -> None:
    path, before = hostile(make_zip), everything_below(data_home)
    parent_before = set(data_home.parent.iterdir())
    plan = plan_zip(project, path)
    assert reasons(plan) == {
        "set/cats/empty.png": "empty",
        "set/cats/.hidden.png": "hidden",
        "__MACOSX/set/cats/._good.png": "hidden",
        "set/cats/.DS_Store": "hidden",
        "set/dogs/Thumbs.db": "hidden",
        "set/cats/corrupt.jpg": "corrupt",
        "set/cats/words.png": "corrupt",
        "set/dogs/huge.png": "huge",
        "set/dogs/notes.txt": "unsupported",
        "set/dogs/photo.nef": "unsupported",
        "set/dogs/twin.png": "duplicate",
        "set/cats/twin.png": "duplicate",
        "../../evil.png": "unsafe",
        "/etc/evil.png": "unsafe",
        "C:/evil.png": "unsafe",
        "..\\..\\evil.png": "unsafe",
        "set/cats/../../../evil.png": "unsafe",
        "set/cats/link.png": "unsafe",
    }
    by_name = {skipped.name: skipped.reason for skipped in plan.skipped}
    assert "60,000 x 60,000" in by_name["set/dogs/huge.png"]
    assert "'cats'" in by_name["set/dogs/twin.png"] and "cannot be in 'dogs' too" in by_name["set/dogs/twin.png"]
    assert plan.warnings == ["set/cats/really-jpeg.png: named .png, is really JPEG; it is kept as .jpg"]
    assert plan.classes == [("cats", 2), ("dogs", 1)]
    written = everything_below(data_home) - before
    assert {name.split("/")[0] for name in written} == {"staging"}  # the project itself is untouched
    result = accept(project, plan)
    assert result.added == 3 and files_below(project.path / "images") == {
        f"{image.sha256[:2]}/{image.sha256}{'.jpg' if image.format == 'JPEG' else '.png'}" for image in project.images(None).items
    }
    assert set(data_home.parent.iterdir()) == parent_before and not list((data_home / "staging").iterdir())


def test_discarding_leaves_nothing(project: Project, make_zip: MakeZip, data_home: Path) -> None:
    before = everything_below(data_home)
    discard(plan_zip(project, make_zip({"cats/1.png": encoded(1)})))
    assert everything_below(data_home) - before <= {"staging"}


# ---- bombs and broken zips


def test_bomb_by_density_is_not_opened(project: Project, make_zip: MakeZip) -> None:
    bomb = make_zip({f"cats/{n}.png": b"\0" * (30 << 20) for n in range(4)}, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(ImportRefused, match="no pictures pack that well"):
        plan_zip(project, bomb)


def test_caps_on_members_size_and_files(project: Project, make_zip: MakeZip) -> None:
    path = make_zip({f"cats/{n}.png": encoded(n) for n in range(4)})
    for limits, words in (
        (replace(DEFAULT_LIMITS, archive_members=3), "4 members; at most 3"),
        (replace(DEFAULT_LIMITS, archive_directory_bytes=50), "members"),
        (replace(DEFAULT_LIMITS, archive_total_bytes=1000), "unpacks to"),
        (replace(DEFAULT_LIMITS, files=3), "4 files; at most 3"),
    ):
        with pytest.raises(ImportRefused, match=words):
            plan_zip(project, path, limits=limits)
    plan = plan_zip(project, path, limits=replace(DEFAULT_LIMITS, image_bytes=200))
    assert [skipped.kind for skipped in plan.skipped] == ["too large"] * 4


def test_a_lie_about_the_number_of_members_is_caught_before_they_are_read(project: Project, make_zip: MakeZip) -> None:
    path = make_zip({"cats/1.png": encoded(1)})
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    struct.pack_into("<HH", data, end + 8, 65_000, 65_000)
    path.write_bytes(data)
    with pytest.raises(ImportRefused, match="65,000 members"):
        plan_zip(project, path)


def test_a_lie_about_a_members_size_unpacks_no_more_than_it_says(project: Project, make_zip: MakeZip) -> None:
    """The entry says 2 KB, the deflated stream holds 40 MB: what is read stops at 2 KB, and the checksum tells."""
    path = make_zip({"cats/1.png": encoded(1)[:60] + b"\0" * (40 << 20)}, compression=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    central = data.rfind(b"PK\x01\x02")
    struct.pack_into("<L", data, central + 24, 2048)
    path.write_bytes(data)
    plan = plan_zip(project, path)
    assert reasons(plan) == {"cats/1.png": "corrupt"}
    assert all(p.stat().st_size <= 2048 for p in plan.folder.iterdir())


def test_damaged_member_and_password(project: Project, make_zip: MakeZip) -> None:
    path = make_zip({"cats/1.png": encoded(1), "cats/2.png": encoded(2), "cats/3.png": encoded(3)})
    data = bytearray(path.read_bytes())
    at = data.find(encoded(1)) + 200
    data[at] ^= 0xFF  # a flipped bit: the checksum no longer fits
    second = data.rfind(b"PK\x01\x02", 0, data.rfind(b"PK\x01\x02"))
    data[second + 8] |= 1  # "needs a password"
    path.write_bytes(data)
    assert reasons(plan_zip(project, path)) == {"cats/1.png": "corrupt", "cats/2.png": "unsupported"}


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06", b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip_is_refused(project: Project, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(ImportRefused):
        plan_zip(project, path)


def test_zip_in_a_zip_is_no_picture(project: Project, make_zip: MakeZip) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("cats/1.png", encoded(1))
    assert reasons(plan_zip(project, make_zip({"cats/inner.zip": inner.getvalue()}))) == {"cats/inner.zip": "unsupported"}


def test_names_that_would_fool_the_eye_are_shown_plainly(project: Project, make_zip: MakeZip) -> None:
    plan = plan_zip(project, make_zip({"cats/a\u202egnp.exe": b"x", "cats/" + "n" * 400 + ".txt": b"x", "cats/b\nc.txt": b"x"}))
    for skipped in plan.skipped:
        assert "\u202e" not in skipped.name and "\n" not in skipped.name and len(skipped.name) <= 162


def test_a_folder_name_that_cannot_be_a_class(project: Project, make_zip: MakeZip) -> None:
    plan = plan_zip(project, make_zip({"n" * 201 + "/1.png": encoded(1), " \u200b/2.png": encoded(2)}))
    assert [skipped.kind for skipped in plan.skipped] == ["unlabelled", "unlabelled"]


def test_progress_counts_every_member(project: Project, make_zip: MakeZip) -> None:
    seen: list[tuple[int, int]] = []
    plan = plan_zip(project, hostile(make_zip), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n + 1, 21) for n in range(21)] and len(plan.skipped) + plan.n_images == 21
