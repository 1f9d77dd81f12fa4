"""The guards of this test suite do guard: each of these would pass unnoticed if one fell off."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import no_network
import pytest

GUARD = Path(no_network.__file__).parent


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "127.8.8.8", b"localhost"])
def test_this_machine_is_local(host: object) -> None:
    assert no_network.is_local(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org", "10.0.0.1", "2001:db8::1", "localhost.example.org"])
def test_other_machines_are_not_local(host: object) -> None:
    assert not no_network.is_local(host)


@pytest.fixture
def forgiven() -> Iterator[None]:
    """Attempts made on purpose do not fail the test that made them."""
    before = len(no_network.attempts)
    yield
    del no_network.attempts[before:]


def test_connections_are_refused_and_remembered(_nothing_left_the_machine: None, forgiven: None) -> None:
    before = len(no_network.attempts)
    with socket.socket() as plug, pytest.raises(no_network.NetworkRefused):
        plug.connect(("192.0.2.1", 80))
    with pytest.raises(no_network.NetworkRefused):
        socket.create_connection(("example.org", 443), timeout=0.1)
    assert len(no_network.attempts) == before + 2


def test_loopback_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as plug:
        assert plug.getpeername() == server.getsockname()


def test_child_processes_are_guarded_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = "import urllib.request\ntry: urllib.request.urlopen('http://192.0.2.1/', timeout=1)\nexcept Exception: pass"
    environment = {**os.environ, "PYTHONPATH": str(GUARD), no_network.LOG_VARIABLE: str(log)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert "192.0.2.1" in log.read_text()


def test_data_home_is_not_the_persons_own(data_home: Path) -> None:
    assert os.environ["BLOCKLORA_HOME"] == str(data_home)
    assert list(data_home.iterdir()) == []


def test_sample_pictures_are_all_different(sample_pictures: Path) -> None:
    files = sorted(sample_pictures.glob("*/*.png"))
    assert len(files) == 24
    assert len({file.read_bytes() for file in files}) == 24
