"""A tiny classifier, exported once for the whole session (an export takes seconds)."""

from __future__ import annotations

import pytest
from tiny_export import Exported, make_classifier, make_metadata

from exporters.onnx_export import export_onnx


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    classifier, metadata = make_classifier(), make_metadata()
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(classifier, metadata, path)
    return Exported(classifier, metadata, path)
