"""BIDS pairs are read back as the complex image they were, and say no more than is known."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from bids_tree import assert_valid_study, needs_bids_validator

from firenet_mri.batch.summary import write_summary
from firenet_mri.batch.tree import image_paths
from firenet_mri.errors import FileError, ShapeError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry, Moment
from firenet_mri.io.image.bids import bids_paths, write_bids
from firenet_mri.io.image.complex_nifti import read_complex_nifti
from firenet_mri.io.image.nifti import write_nifti

PLACE = Geometry((4.0, 90.0, 120.0), ((1.0, 2.0, 3.0), (1.0, 2.0, 8.0)))


@pytest.fixture
def image() -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.normal(size=(2, 9, 12, 2)) @ [1, 1j]).astype(np.complex64)


def test_the_pair_is_read_as_the_image(image, tmp_path) -> None:
    files = write_bids(tmp_path / "sub-01_T1w", image, PLACE)
    assert [path.name for path in files] == [
        "sub-01_part-mag_T1w.nii.gz",
        "sub-01_part-mag_T1w.json",
        "sub-01_part-phase_T1w.nii.gz",
        "sub-01_part-phase_T1w.json",
    ]
    found = read_complex_nifti(files[0])
    np.testing.assert_allclose(found.image, image.T, atol=1e-5)
    np.testing.assert_allclose(found.affine_ras, PLACE.affine_ras((2, 9, 12)), atol=1e-5)


def test_sidecars_hold_what_is_known_in_seconds(image, tmp_path) -> None:
    known = AcquisitionParameters(3.0, 2000.0, (30.0,), None, 90.0)
    _, mag, _, phase = write_bids(
        tmp_path / "sub-01_bold", image, PLACE, parameters=known, simulated=True
    )
    fields = json.loads(mag.read_text())
    assert set(fields) == {
        "MagneticFieldStrength",
        "RepetitionTime",
        "EchoTime",
        "FlipAngle",
        "ReconMethodName",
        "GeneratedBy",
        "Simulated",
    }
    assert (fields["RepetitionTime"], fields["EchoTime"]) == (2.0, 0.03)
    assert json.loads(phase.read_text()) == {**fields, "Units": "rad"}


def test_a_name_without_suffix_gets_one(tmp_path) -> None:
    assert bids_paths(tmp_path / "brain")[0].name == "brain_part-mag_MRI.nii.gz"


def test_what_is_no_pair_is_refused(image, tmp_path) -> None:
    with pytest.raises(UsageError, match="without suffix and part"):
        write_bids(tmp_path / "sub-01_T1w.nii.gz", image)
    with pytest.raises(UsageError, match="without suffix and part"):
        write_bids(tmp_path / "sub-01_part-mag_T1w", image)
    with pytest.raises(ShapeError, match="3 names for 1 image"):
        write_bids(tmp_path / "sub-01_T1w", image, names=["a 0", "a 1", "a 2"])
    write_bids(tmp_path / "sub-01_T1w", image)
    with pytest.raises(FileError, match="exists; use --overwrite"):
        write_bids(tmp_path / "sub-01_T1w", image)


def names_of(stem: str, names: list[str], times: tuple[float, ...] = ()) -> list[str]:
    known = AcquisitionParameters(echo_times_ms=times)
    return [path.name for path in bids_paths(Path(stem), names, known, [None])[::2]]


def test_echoes_and_runs_are_files_of_their_own() -> None:
    names = [f"repetition {r}, contrast {c}" for r in range(2) for c in range(2)]
    assert names_of("sub-01_acq-x_MEGRE", names, (4.0, 8.0)) == [
        "sub-01_acq-x_run-1_echo-1_MEGRE.nii.gz",
        "sub-01_acq-x_run-1_echo-2_MEGRE.nii.gz",
        "sub-01_acq-x_run-2_echo-1_MEGRE.nii.gz",
        "sub-01_acq-x_run-2_echo-2_MEGRE.nii.gz",
    ]
    assert names_of("sub-01_task-rest_bold", names, (4.0, 8.0)) == [
        "sub-01_task-rest_echo-1_bold.nii.gz",
        "sub-01_task-rest_echo-2_bold.nii.gz",
    ]
    assert names_of("sub-01_T1w", ["phase 0", "phase 1"]) == [
        "sub-01_run-1_T1w.nii.gz",
        "sub-01_run-2_T1w.nii.gz",
    ]
    with pytest.raises(UsageError, match="the name contains run-"):
        names_of("sub-01_run-3_T1w", ["phase 0", "phase 1"])
    with pytest.raises(UsageError, match="the name contains echo-"):
        names_of("sub-01_echo-1_T1w", ["contrast 0", "contrast 1"], (4.0, 8.0))


def test_a_subjects_image_has_a_suffix_of_bids() -> None:
    for stem in ("sub-01", "sub-01_MRI", "sub-01_rec-firenet"):
        with pytest.raises(UsageError, match="not a BIDS suffix; end the name"):
            bids_paths(Path(stem))


def test_a_time_series_keeps_its_axis_and_every_echo_has_its_image(tmp_path) -> None:
    image = np.random.default_rng(0).random((4, 2, 9, 12))
    names = [f"repetition {r}, contrast {c}" for r in range(2) for c in range(2)]
    known = AcquisitionParameters(3.0, 2000.0, (4.0, 8.0))
    files = write_bids(
        tmp_path / "sub-01_task-rest_bold", image, PLACE, parameters=known, names=names
    )
    second = nibabel.load(files[2])
    np.testing.assert_allclose(np.asarray(second.dataobj), image[1::2].T, rtol=1e-6)
    assert second.header.get_zooms()[3] == 2.0
    fields = json.loads(files[3].read_text())
    assert (fields["EchoTime"], fields["EchoNumber"], fields["TaskName"]) == (0.008, 2, "rest")


@pytest.mark.parametrize(
    ("times", "step", "fields"),
    [
        # Measured, and not the time between excitations.
        ((0.0, 1500.0, 3000.0), 1.5, {"RepetitionTime": 1.5}),
        ((0.0, 1500.0, 4000.0), 1.0, {"VolumeTiming": [0.0, 1.5, 4.0]}),
        ((), 2.0, {"RepetitionTime": 2.0}),
    ],
)
def test_the_time_between_volumes_is_the_measured_one(times, step, fields, tmp_path) -> None:
    names = [f"repetition {i}" for i in range(3)]
    moments = tuple(Moment(name, time) for name, time in zip(names, times, strict=False))
    known = AcquisitionParameters(repetition_time_ms=2000.0, moments=moments)
    stem = tmp_path / "sub-01_task-rest_bold"
    image, sidecar = write_bids(stem, np.ones((3, 2, 9, 12)), PLACE, parameters=known, names=names)
    assert nibabel.load(image).header.get_zooms()[3] == step
    found = json.loads(sidecar.read_text())
    assert {key: found[key] for key in ("RepetitionTime", "VolumeTiming") if key in found} == fields


def test_a_phase_of_the_heart_has_its_time(tmp_path) -> None:
    names = ["phase 0", "phase 1"]
    moments = (Moment(names[0], None, 20.0), Moment(names[1], None, 60.0))
    known = AcquisitionParameters(moments=moments)
    stem = tmp_path / "sub-01_T1w"
    files = write_bids(stem, np.ones((2, 2, 9, 12)), PLACE, parameters=known, names=names)
    assert [json.loads(path.read_text())["TriggerTime"] for path in files[1::2]] == [0.02, 0.06]


@needs_bids_validator
def test_the_validator_accepts_what_is_written_into_a_tree(image, tmp_path) -> None:
    known = AcquisitionParameters(3.0, 2000.0, (4.0, 8.0), None, 15.0)
    names = [f"repetition {r}, contrast {c}" for r in range(2) for c in range(2)]
    stack = np.stack([image] * 4)
    for folder, stem in (("anat", "sub-01_MEGRE"), ("func", "sub-01_task-rest_bold")):
        place = tmp_path / "study/sub-01" / folder
        place.mkdir(parents=True)
        write_bids(place / stem, stack, PLACE, parameters=known, names=names)
    for session in ("ses-1", "ses-2"):
        place = tmp_path / f"study/sub-02/{session}/anat"
        place.mkdir(parents=True)
        write_bids(place / f"sub-02_{session}_T1w", image, PLACE)
        write_bids(place / f"sub-02_{session}_T2w", stack, PLACE)
    # What a batch writes beside the images.
    (batch,) = image_paths([Path("scan.h5")], "T2w")
    (unknown,) = image_paths([Path("other.h5")])
    for path in (batch, unknown):
        (tmp_path / "study" / path.parent).mkdir(parents=True)
        write_nifti(tmp_path / "study" / path, np.abs(image), PLACE)
        stem = path.name.removesuffix(".nii.gz")
        for beside in (".json", ".done.json", ".png", ".html", ".evidence.h5", ".jacobian.png"):
            (tmp_path / "study" / path.with_name(stem + beside)).write_text("{}")
    (several,) = image_paths([Path("times.h5")], "T1w")
    (tmp_path / "study" / several.parent).mkdir(parents=True)
    write_nifti(tmp_path / "study" / several, np.abs(stack), PLACE)
    (tmp_path / "study" / several.with_name("sub-times_rec-firenet_T1w.json")).write_text("{}")
    write_summary(tmp_path / "study", [])
    ignored = (tmp_path / "study/.bidsignore").read_text()
    assert ignored.splitlines()[-1] == "sub-times_rec-firenet_T1w.*"
    write_summary(tmp_path / "study", [])
    assert (tmp_path / "study/.bidsignore").read_text() == ignored
    assert_valid_study(tmp_path / "study")
