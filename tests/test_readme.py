"""What README.md and CONTRIBUTING.md promise exists: commands, options, files, pictures."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST = "pip install -r requirements.txt && python app.py"
SECOND = "bash tests/run"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "assets/sample/README.md", "docs/experiments.md")


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced code blocks of a language."""
    return [block.strip() for block in re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)]


def shell_lines() -> list[str]:
    return [line.strip() for block in blocks("bash") for line in block.splitlines() if line.strip()]


@cache
def help_of(*words: str) -> str:
    """What `python WORDS --help` prints; it must succeed."""
    done = subprocess.run([sys.executable, *words, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"python {shlex.join(words)} --help ended with {done.returncode}:\n{done.stderr}"
    return done.stdout


def options_of(words: list[str]) -> list[str]:
    return [word.split("=")[0] for word in words if word.startswith("--")]


def test_readme_has_the_two_commands() -> None:
    assert shell_lines()[:2] == [FIRST, SECOND]


def test_build_machine_runs_the_second_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(rf"^exec {re.escape(SECOND)}\b", script, re.MULTILINE)  # and not, say, in a comment
    assert "bash .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["tests/run", ".ci/run"])
def test_scripts_are_whole_and_stop_at_the_first_failure(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True, timeout=60)
    assert "set -euo pipefail" in (ROOT / script).read_text(encoding="utf-8")
    assert os.access(ROOT / script, os.X_OK)


def test_requirement_files_are_readable() -> None:
    development = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    assert "-r requirements.txt" in development
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            words = line.split("#")[0].strip()
            assert (
                not words
                or words.startswith("-r ")
                or re.fullmatch(r"[A-Za-z0-9_.\-\[\]]+(>=|==|~=|<)[0-9][^ ;]*(; sys_platform [!=]= \"darwin\")?", words)
            ), line


COMMANDS = sorted({line for line in shell_lines() if line.startswith("python -m blocklora")})


def test_readme_shows_every_command_of_the_command_line() -> None:
    overview = help_of("-m", "blocklora")
    shown = {shlex.split(line)[3] for line in COMMANDS}
    assert {"train", "export", "predict", "evaluate", "backbones", "projects", "serve"} <= shown
    assert all(name in overview for name in shown)


@pytest.mark.parametrize("line", COMMANDS)
def test_command_lines_of_readme_are_understood(line: str) -> None:
    words = shlex.split(line)
    text = help_of("-m", "blocklora", words[3])
    for option in options_of(words[4:]):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{option} is not an option of {words[3]}"
    for word in words[4:]:
        assert not word.startswith("assets/") or (ROOT / word).exists(), f"{word} is not there"


def test_options_of_the_window_named_in_readme_exist() -> None:
    text = help_of("app.py")
    for option in ("--no-browser", "--host", "--port", "--home", "--auth"):
        assert option in text
    inline = re.findall(r"`(--[a-z-]+)[^`]*`", README)
    known = text + "".join(help_of("-m", "blocklora", name) for name in ("train", "export", "predict", "evaluate")) + "--help"
    assert inline
    assert [option for option in inline if option not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    base = (ROOT / document).parent
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)]
    local = [link for link in links if link and "://" not in link]
    assert [link for link in local if not (base / link).exists()] == []
    named = re.findall(r"(?<![\w/.-])((?:assets|tests|blocklora|exporters|\.ci)/[\w./-]*\w/?)", text)
    assert [name for name in named if not (ROOT / name).exists() and not (base / name).exists()] == []


def test_pictures_of_readme_have_a_text_and_are_small() -> None:
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", README) + re.findall(r'<img[^>]*alt="([^"]*)"[^>]*src="([^"]+)"', README)
    pictures += [(alt, src) for src, alt in re.findall(r'<img[^>]*src="([^"]+)"[^>]*alt="([^"]*)"', README)]
    assert pictures, "README shows no screenshot"
    assert all(alt for alt, _ in pictures)
    assert sum((ROOT / src).stat().st_size for _, src in set(pictures)) < 1_500_000


def test_python_of_readme_compiles() -> None:
    assert blocks("python")
    for block in blocks("python"):
        compile(block, "README.md", "exec")


def test_readme_does_not_repeat_a_figure_that_cannot_be_right() -> None:
    """The paper's summary says 93.65 % on ImageNet with 16 shots; its parent method gets 73.6 there."""
    assert "93.65" not in README
