"""What an image was made with is one dictionary: record, key of finished slices, and digest."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from test_bounds import cartesian_scan, radial_scan

from firenet_mri import RawScan, ReconstructionOptions, reconstruct
from firenet_mri.digests import digest_of_data
from firenet_mri.errors import DataError
from firenet_mri.geometry import AcquisitionParameters
from firenet_mri.io import read_certificate
from firenet_mri.reconstruction import reconstruct_with
from firenet_mri.reconstruction.prepare import key_of, prepare

QUICK = {"layers": 2, "maps": "lowres", "sparsifier": "haar"}


def turned(scan: RawScan, degrees: float) -> RawScan:
    angle = math.radians(degrees)
    rotation = torch.tensor(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]],
        dtype=scan.trajectory.dtype,
    )
    trajectory = (scan.trajectory @ rotation).clamp(-16, 15.999)
    return dataclasses.replace(scan, trajectory=trajectory)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"coils": 2, "compression": "svd"}, {"coils": 2, "compression": "geometric"}),
        ({"lam": 0.01}, {"lam": 0.1}),
        ({"phase_constraint": 0.1}, {"phase_constraint": 0.9}),
        ({"maps": torch.full((4, 32, 28), 0.5 + 0j)}, {"maps": torch.full((4, 32, 28), 0.5j)}),
    ],
    ids=["compression", "lam", "phase", "maps"],
)
def test_finished_slices_of_other_options_are_not_taken(first, second, tmp_path) -> None:
    scan = cartesian_scan()
    reconstruct(scan, **QUICK | first, checkpoint=tmp_path)
    kept = len(list(tmp_path.iterdir()))
    found = reconstruct(scan, **QUICK | second, checkpoint=tmp_path)
    assert torch.equal(found.image, reconstruct(scan, **QUICK | second).image)
    assert len(list(tmp_path.iterdir())) == kept + 1
    again = reconstruct(scan, **QUICK | second, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == kept + 1
    assert torch.equal(again.image, found.image)


@pytest.mark.parametrize(
    "other",
    [
        lambda scan: turned(scan, 30),
        lambda scan: dataclasses.replace(scan, image_shape=(40, 40)),
    ],
    ids=["trajectory", "image size"],
)
def test_finished_slices_of_another_trajectory_are_not_taken(other, tmp_path) -> None:
    scan = radial_scan()
    reconstruct(scan, **QUICK, checkpoint=tmp_path)
    found = reconstruct(other(scan), **QUICK, checkpoint=tmp_path)
    assert torch.equal(found.image, reconstruct(other(scan), **QUICK).image)


def test_the_device_does_not_tell_runs_apart() -> None:
    scan = cartesian_scan()
    keys = {
        key_of(prepare(scan, ReconstructionOptions.from_mapping(QUICK | options)), {})
        for options in ({}, {"device": "cuda"})
    }
    assert len(keys) == 1


def test_a_scan_with_another_trajectory_is_refused(tmp_path) -> None:
    scan = radial_scan()
    reconstruct(scan, **QUICK).save(tmp_path / "a.nii.gz")
    saved = read_certificate(tmp_path / "a.json")
    saved.check_scan(scan)
    with pytest.raises(DataError, match="its trajectory has another"):
        saved.check_scan(turned(scan, 30))
    with pytest.raises(DataError, match="its trajectory has another"):
        saved.check_scan(dataclasses.replace(scan, image_shape=(40, 40)))


def test_the_record_makes_the_image_again(tmp_path) -> None:
    scan = cartesian_scan()
    result = reconstruct(scan, **QUICK, coils="99.9%", reweighting=0)
    result.save(tmp_path / "a.nii.gz")
    report = json.loads((tmp_path / "a.json").read_text())
    record = report["options"]["reconstruction"]
    assert report["certificate"]["digests"]["parameters"] == digest_of_data(report["options"])
    again = reconstruct_with(scan, ReconstructionOptions.from_mapping(record))
    assert torch.equal(again.image, result.image)
    assert again.certificate.digests == result.certificate.digests
    report["options"]["reconstruction"]["network"]["layers"] = 3
    content = {key: value for key, value in report.items() if key != "digest"}
    (tmp_path / "a.json").write_text(json.dumps({**content, "digest": digest_of_data(content)}))
    with pytest.raises(DataError, match="options are not those of the certificate"):
        read_certificate(tmp_path / "a.json")


def test_a_certificate_of_version_1_is_read_and_called_not_checkable() -> None:
    saved = read_certificate(Path(__file__).with_name("certificate_version_1.json"))
    assert saved.certificate.lipschitz_bound == pytest.approx(1.911, rel=1e-3)
    assert "version 1" in saved.certificate.not_checkable
    with pytest.raises(DataError, match="is not checkable"):
        saved.check_scan(cartesian_scan())


def test_the_certificate_lists_the_images_with_their_echo_times() -> None:
    scan = cartesian_scan()
    kspace, mask = (
        torch.stack([values, values]).reshape(2, 1, -1, *scan.spatial_shape)
        for values in (scan.kspace, scan.mask)
    )
    parameters = AcquisitionParameters(repetition_time_ms=30.0, echo_times_ms=(4.0, 9.0))
    scan = RawScan(
        kspace, mask, 2, name="scan", images=("contrast 0", "contrast 1"), parameters=parameters
    )
    report = reconstruct(scan, **QUICK).report(None)
    assert report["scan"]["images"] == [
        {"name": "contrast 0", "echo": 1, "echo_time_ms": 4.0},
        {"name": "contrast 1", "echo": 2, "echo_time_ms": 9.0},
    ]
