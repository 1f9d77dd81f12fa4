"""What is told of a published file comes from its reports, and a report that is missing invents nothing."""

from __future__ import annotations

from pathlib import Path

from blocklora.files import write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.exported import exported


def test_no_file_is_nothing(tmp_path: Path) -> None:
    assert exported(RunFolder(tmp_path)) is None


def test_figures_come_from_the_report(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.export_dir.mkdir()
    run.onnx_path.write_bytes(b"12345")
    write_json(
        run.export_dir / "export.json",
        {
            "checked": {"images": 6, "of": 9, "source": "held-out"},
            "worst": {"probability": 2e-6, "cosine": 0.0},
            "milliseconds": 7.5,
            "threads": 2,
            "provider": "CPUExecutionProvider",
        },
    )
    found = exported(run)
    assert found is not None and found.path == run.onnx_path
    assert (found.size, found.checked, found.of, found.off, found.milliseconds, found.threads) == (5, 6, 9, 2e-6, 7.5, 2)


def test_missing_and_odd_reports_leave_figures_open(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.export_dir.mkdir()
    run.onnx_path.write_bytes(b"12345")
    for report in (None, [], {"checked": 3, "worst": "much"}):
        if report is not None:
            write_json(run.export_dir / "export.json", report)
        found = exported(run)
        assert found is not None and found.size == 5 and found.checked == 0 and found.off is None and found.milliseconds is None
