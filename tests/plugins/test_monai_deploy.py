"""The MONAI Deploy operator where the SDK is installed; elsewhere it says what is missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from laws import assert_close

from firenet_mri import read, reconstruct

FILE = Path(__file__).parents[2] / "plugins/monai_deploy/firenet_operator.py"


def has_sdk() -> bool:
    return importlib.util.find_spec("monai.deploy") is not None


def load():
    spec = importlib.util.spec_from_file_location("firenet_operator", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(has_sdk(), reason="the MONAI Deploy App SDK is installed")
def test_without_the_sdk_the_error_names_the_package() -> None:
    with pytest.raises(ImportError, match="pip install monai-deploy-app-sdk"):
        load()


@pytest.mark.skipif(not has_sdk(), reason="the MONAI Deploy App SDK is not installed")
def test_an_application_writes_image_and_certificate(tmp_path) -> None:
    from holoscan.conditions import CountCondition
    from monai.deploy.core import Application, Operator

    operator = load().FIRENETReconstructionOperator
    sample = FILE.parents[2] / "sample_data/brain_8coil.h5"

    class Source(Operator):
        def setup(self, spec):
            spec.output("scan")

        def compute(self, op_input, op_output, context):
            op_output.emit(str(sample), "scan")

    arrived = {}

    class Sink(Operator):
        def setup(self, spec):
            spec.input("image")
            spec.input("certificate")

        def compute(self, op_input, op_output, context):
            arrived.update({name: op_input.receive(name) for name in ("image", "certificate")})

    class Reconstruction(Application):
        def compose(self):
            firenet = operator(self, output_folder=tmp_path, name="firenet")
            # Without a count Holoscan runs a source for ever.
            source = Source(self, CountCondition(self, 1), name="source")
            self.add_flow(source, firenet, {("scan", "scan")})
            pairs = {("image", "image"), ("certificate", "certificate")}
            self.add_flow(firenet, Sink(self, name="sink"), pairs)

    sys.argv = ["test"]
    Reconstruction().run()
    expected = reconstruct(read(sample))
    assert_close(torch.from_numpy(arrived["image"]), expected.image, 1e-5)
    assert arrived["certificate"]["lipschitz_bound"] == expected.certificate.lipschitz_bound
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"brain_8coil.{end}" for end in ("nii.gz", "png", "json", "evidence.h5")}
