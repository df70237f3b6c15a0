"""MRD 2 streams that mrd-python has written are the scans and images of version 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest
import torch
from mrd_scans import make_header, make_readouts

from firenet_mri import extras, read
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.geometry import Moment
from firenet_mri.io.image.mrd_series import read_mrd_images
from firenet_mri.io.kspace.formats import Format, recognise
from firenet_mri.io.kspace.ismrmrd import assemble

NX, NY = 16, 12


@pytest.fixture(scope="module")
def mrd() -> Any:
    return pytest.importorskip("mrd")


def stream(mrd: Any, path: Path, header: Any, items: list[Any]) -> Path:
    """Write a header and items as the package does."""
    with mrd.BinaryMrdWriter(str(path)) as writer:
        writer.write_header(header)
        writer.write_data(items)
    return path


def header_of(mrd: Any, *, trajectory: str = "CARTESIAN", mode: str | None = None) -> Any:
    space = mrd.EncodingSpaceType(
        matrix_size=mrd.MatrixSizeType(x=NX, y=NY, z=1),
        field_of_view_mm=mrd.FieldOfViewMm(x=2.0 * NX, y=3.0 * NY, z=5.0),
    )
    parallel = None
    if mode is not None:
        factor = mrd.AccelerationFactorType(kspace_encoding_step_1=2, kspace_encoding_step_2=1)
        parallel = mrd.ParallelImagingType(
            acceleration_factor=factor, calibration_mode=mrd.CalibrationMode[mode]
        )
    encoding = mrd.EncodingType(
        encoded_space=space,
        recon_space=space,
        encoding_limits=mrd.EncodingLimitsType(
            kspace_encoding_step_1=mrd.LimitType(minimum=0, maximum=NY - 1, center=5)
        ),
        trajectory=mrd.Trajectory[trajectory],
        parallel_imaging=parallel,
    )
    return mrd.Header(
        subject_information=mrd.SubjectInformationType(patient_name="SECRETNAME"),
        acquisition_system_information=mrd.AcquisitionSystemInformationType(
            system_vendor="SIEMENS", system_field_strength_t=3.0
        ),
        experimental_conditions=mrd.ExperimentalConditionsType(h1resonance_frequency_hz=123),
        encoding=[encoding],
        sequence_parameters=mrd.SequenceParametersType(t_r=[30.0], t_e=[4.0, 9.0]),
    )


def version_2(mrd: Any, found: Any) -> Any:
    """Return a readout of version 1 as one of version 2; what is 0 may be missing there."""
    head = mrd.AcquisitionHeader(
        flags=mrd.AcquisitionFlags(found.flags),
        channel_order=list(range(len(found.data))),
        center_sample=found.center_sample,
        discard_pre=found.discard_pre or None,
        discard_post=found.discard_post or None,
    )
    for name in ("position", "read_dir", "phase_dir", "slice_dir"):
        setattr(head, name, np.array(getattr(found, name)[:], np.float32))
    for name in ("kspace_encode_step_1", "slice", "contrast", "repetition", "set", "average"):
        setattr(head.idx, name, getattr(found.idx, name) or None)
    if hasattr(head, "sample_time_ns"):
        head.sample_time_ns = round(1000 * found.sample_time_us)
    else:
        head.sample_time_us = found.sample_time_us
    return mrd.Acquisition(head=head, data=np.array(found.data), trajectory=points(found))


def points(found: Any) -> np.ndarray:
    return np.ascontiguousarray(np.array(found.traj, np.float32).T)


def items_of(mrd: Any, readouts: list[Any]) -> list[Any]:
    return [mrd.StreamItem.Acquisition(version_2(mrd, one)) for one in readouts]


def readouts_of(noisy) -> list[Any]:
    made = make_readouts(noisy(3, NY, NX))[: NY - 2]
    noise = ismrmrd.Acquisition.from_array(noisy(3, 64).astype(np.complex64))
    noise.setFlag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    noise.sample_time_us, readouts = 8.0, [noise, *made]
    for one in made:
        one.sample_time_us, one.idx.contrast = 2.0, 1
        one.discard_pre = 2
    return readouts


def test_a_stream_is_the_scan_of_version_1(mrd, noisy, tmp_path) -> None:
    readouts = readouts_of(noisy)
    path = stream(mrd, tmp_path / "scan.mrd", header_of(mrd), items_of(mrd, readouts))
    assert recognise(path) is Format.MRD2
    header = make_header((NX, NY, 1), centre=(5, 0), vendor="SIEMENS")
    expected, found = assemble(header, readouts), read(path)
    assert torch.equal(found.kspace, expected.kspace)
    assert torch.equal(found.mask, expected.mask)
    assert torch.equal(found.noise, expected.noise)
    assert found.geometry == expected.geometry
    known = found.parameters
    assert (known.field_strength_t, known.repetition_time_ms) == (3.0, 30.0)
    assert known.echo_times_ms == (4.0, 9.0)
    with pytest.raises(UsageError, match="has no groups"):
        read(path, group="1")


def test_phases_have_the_times_of_their_stamps(mrd, noisy, tmp_path) -> None:
    if not hasattr(mrd.AcquisitionHeader(), "acquisition_time_stamp"):
        pytest.skip("this version counts in nanoseconds")
    items = []
    for phase in range(2):
        for one in items_of(mrd, readouts_of(noisy)[1:]):
            one.value.head.idx.phase = phase
            one.value.head.acquisition_time_stamp = 1000 + 16 * phase
            one.value.head.physiology_time_stamp = [16 * phase + 4, 5]
            items.append(one)
    found = read(stream(mrd, tmp_path / "scan.mrd", header_of(mrd), items)).parameters.moments
    assert found == (Moment("phase 0", 0.0, 10.0), Moment("phase 1", 40.0, 50.0))


def test_coils_are_put_in_the_order_of_their_numbers(mrd, noisy, tmp_path) -> None:
    items = items_of(mrd, readouts_of(noisy))
    expected = read(stream(mrd, tmp_path / "a.mrd", header_of(mrd), items))
    for item in items[::2]:
        item.value.head.channel_order = [2, 0, 1]
        item.value.data = np.ascontiguousarray(item.value.data[[2, 0, 1]])
    found = read(stream(mrd, tmp_path / "b.mrd", header_of(mrd), items))
    assert torch.equal(found.kspace, expected.kspace)


def test_a_trajectory_is_read_with_its_axes(mrd, noisy, tmp_path) -> None:
    angles = np.arange(20) * np.pi / 20
    radius = np.linspace(-0.5, 0.5, NX, endpoint=False)
    spokes = []
    for angle in angles:
        line = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).astype(np.float32)
        spokes.append(ismrmrd.Acquisition.from_array(noisy(2, NX).astype(np.complex64), line))
    header = header_of(mrd, trajectory="RADIAL")
    path = stream(mrd, tmp_path / "a.mrd", header, items_of(mrd, spokes))
    expected = assemble(make_header((NX, NY, 1), trajectory="radial", vendor="SIEMENS"), spokes)
    found = read(path)
    assert torch.equal(found.trajectory, expected.trajectory)
    assert torch.equal(found.kspace, expected.kspace)


def test_modes_and_trajectories_have_the_words_of_version_1(mrd, noisy, tmp_path) -> None:
    readouts = readouts_of(noisy)
    for readout in readouts[2:4]:
        readout.setFlag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
    header = header_of(mrd, mode="SEPARATE")
    found = read(stream(mrd, tmp_path / "a.mrd", header, items_of(mrd, readouts)))
    assert found.reference is not None
    header = header_of(mrd, trajectory="SPIRAL")
    path = stream(mrd, tmp_path / "b.mrd", header, items_of(mrd, readouts))
    with pytest.raises(DataError, match="lack their k-space points"):
        read(path)


def test_numbers_that_do_not_fit_are_refused(mrd, noisy, tmp_path) -> None:
    items = items_of(mrd, readouts_of(noisy))
    items[3].value.head.idx.repetition = 1 << 16
    with pytest.raises(DataError, match="repetition is 65536; at most 65535"):
        read(stream(mrd, tmp_path / "a.mrd", header_of(mrd), items))


def test_damaged_streams_and_those_without_readouts_are_named(mrd, noisy, tmp_path) -> None:
    path = stream(mrd, tmp_path / "a.mrd", header_of(mrd), items_of(mrd, readouts_of(noisy)))
    whole = path.read_bytes()
    for stop in (9, 5000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:stop])
        with pytest.raises(FileError, match=r"a\.mrd"):
            read(path)
    path.write_bytes(whole.replace(b'"name":"Mrd"', b'"name":"Mrx"'))
    with pytest.raises(FileError, match="a version of MRD 2 that mrd-python"):
        read(path)
    with pytest.raises(FileError, match="no readouts, no data"):
        read(stream(mrd, tmp_path / "b.mrd", header_of(mrd), []))
    with pytest.raises(FileError, match="no header"):
        read(stream(mrd, tmp_path / "c.mrd", None, items_of(mrd, readouts_of(noisy))))


def test_nothing_of_the_patient_is_read(mrd, noisy, tmp_path) -> None:
    path = stream(mrd, tmp_path / "a.mrd", header_of(mrd), items_of(mrd, readouts_of(noisy)))
    assert b"SECRETNAME" in path.read_bytes()
    assert "SECRETNAME" not in repr(read(path))


def test_images_have_their_place(mrd, tmp_path) -> None:
    items = []
    for index in range(2):
        head = mrd.ImageHeader(image_type=mrd.ImageType.MAGNITUDE, slice=index)
        head.field_of_view[:] = 120, 90, 4
        head.position[:] = 1 + 5 * index, 2, 3
        head.col_dir[1] = head.line_dir[2] = head.slice_dir[0] = 1
        data = np.arange(108, dtype=np.float32).reshape(1, 1, 9, 12) + index
        items.append(mrd.StreamItem.ImageFloat(mrd.Image(head=head, data=data)))
    path = stream(mrd, tmp_path / "a.mrd", None, items)
    found = read_mrd_images(path)
    np.testing.assert_array_equal(found.image[1], items[1].value.data[0, 0])
    geometry = found.geometry
    assert geometry.positions_mm == ((1, 2, 3), (6, 2, 3))
    assert (geometry.read_direction, geometry.phase_direction) == ((0, 1, 0), (0, 0, 1))
    path = stream(mrd, tmp_path / "b.mrd", header_of(mrd), items)
    with pytest.raises(FileError, match="only ImageFloat; firenet convert writes images"):
        read(path)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    (tmp_path / "a.mrd").write_bytes(b"yardl\1\0\0\0")
    with pytest.raises(UsageError, match=r"install it with: pip install 'firenet_mri\[mrd2\]'$"):
        read(tmp_path / "a.mrd")
    with pytest.raises(UsageError, match=r"firenet_mri\[mrd2\]"):
        read_mrd_images(tmp_path / "a.mrd")
