"""Bruker experiments, made up in ParaVision's files, are read line by line where they belong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from outcomes import outcome_of

from firenet_mri import read
from firenet_mri.errors import DataError, FileError, FirenetError

COILS, COLUMNS = 2, 16


def jcamp(parameters: dict[str, object]) -> str:
    """Return a parameter file: numbers, lists of numbers and words."""
    lines = ["##TITLE=Parameter List", "##JCAMPDX=4.24", "##DATATYPE=Parameter Values"]
    lines += ["##ORIGIN=Bruker BioSpin MRI GmbH", "##OWNER=nobody"]
    for name, value in parameters.items():
        if isinstance(value, list | tuple):
            lines += [f"##${name}=( {len(value)} )", " ".join(map(str, value))]
        elif isinstance(value, str) and value.startswith("<"):
            lines += [f"##${name}=( 64 )", value]
        else:
            lines.append(f"##${name}={value}")
    return "\n".join([*lines, "##END="]) + "\n"


def counts(*shape: int) -> np.ndarray:
    """Return complex whole numbers, which integers keep."""
    generator = np.random.default_rng(0)
    return generator.integers(-999, 999, shape) + 1j * generator.integers(-999, 999, shape)


def write_experiment(
    parent: Path,
    kspace: np.ndarray,
    steps: list[int],
    *,
    rows: int,
    order: tuple[int, ...] = (0,),
    byte_order: str = "little",
    sequence: str = "<FLASH.ppg>",
    steps2: list[int] | None = None,
    **extra: object,
) -> Path:
    """Write (repetition, slice or z, line, coil, sample) as it is measured, line by line."""
    repetitions, third, lines, coils, columns = kspace.shape
    is_3d = steps2 is not None
    folder = parent / "5"
    folder.mkdir(exist_ok=True)
    method: dict[str, object] = {
        "Method": "<Bruker:FLASH>",
        "PVM_EncMatrix": [columns, lines, *([third] if is_3d else [])],
        "PVM_Matrix": [columns, rows, *([third] if is_3d else [])],
        "PVM_AntiAlias": [1, 1, *([1] if is_3d else [])],
        "PVM_EncNReceivers": coils,
        "PVM_EncSteps1": steps,
        "PVM_EncPft": [1, 1, *([1] if is_3d else [])],
        "PVM_Fov": [32, 30, *([24] if is_3d else [])],
        "PVM_SliceThick": 1.5,
        "PVM_SPackArrNSlices": [1 if is_3d else third],
        "PVM_SPackArrSliceDistance": [2.0],
        "PVM_NEchoImages": 1,
        "PVM_RepetitionTime": 100,
        "PVM_EchoTime": 4,
        "PVM_DigNp": columns,
    }
    if is_3d:
        method["PVM_EncSteps2"] = steps2
    acqp: dict[str, object] = {
        "ACQ_sw_version": "<PV 6.0>",
        "PULPROG": sequence,
        "GO_raw_data_format": "GO_32BIT_SGN_INT",
        "BYTORDA": byte_order,
        "GO_block_size": "continuous",
        "ACQ_dim": 3 if is_3d else 2,
        "ACQ_size": [2 * columns, lines, *([third] if is_3d else [])],
        "ACQ_phase_factor": 1,
        "ACQ_obj_order": list(order),
        "NI": 1 if is_3d else third,
        "NR": repetitions,
        "NSLICES": 1 if is_3d else third,
    }
    method.update({key: value for key, value in extra.items() if key.startswith("PVM")})
    acqp.update({key: value for key, value in extra.items() if not key.startswith("PVM")})
    (folder / "method").write_text(jcamp(method))
    (folder / "acqp").write_text(jcamp(acqp))
    # In 2D the slices take turns, one line each.
    measured = kspace if is_3d else kspace[:, list(order)].swapaxes(1, 2)
    pairs = np.stack([measured.real, measured.imag], axis=-1)
    dtype = ">i4" if byte_order == "big" else "<i4"
    (folder / "fid").write_bytes(np.ascontiguousarray(pairs).astype(dtype).tobytes())
    return folder


@pytest.fixture
def write(tmp_path) -> Callable[..., Path]:
    return partial(write_experiment, tmp_path)


@pytest.mark.parametrize("byte_order", ["little", "big"])
@pytest.mark.parametrize("named_by", ["folder", "fid", "method"])
def test_lines_go_where_their_steps_say(byte_order, named_by, write) -> None:
    kspace = counts(1, 1, 8, COILS, COLUMNS)
    steps = [0, -4, 3, -2, 2, -1, 1, -3]
    folder = write(kspace, steps, rows=8, byte_order=byte_order)
    scan = read(folder if named_by == "folder" else folder / named_by)
    assert scan.kspace.shape == (1, COILS, 8, COLUMNS)
    for line, step in enumerate(steps):
        np.testing.assert_array_equal(scan.kspace[0, :, step + 4], kspace[0, 0, line])
    assert bool(scan.mask.all())
    assert scan.geometry.field_of_view_mm == (1.5, 30, 32)
    assert not scan.geometry.is_placed
    assert scan.parameters.echo_times_ms == (4,)


def test_lines_that_were_left_out_are_not_sampled(write) -> None:
    kspace = counts(1, 1, 5, COILS, COLUMNS)
    scan = read(write(kspace, [-2, -1, 0, 1, 3], rows=8))
    assert scan.mask[0, 0].any(-1).tolist() == [False, False, True, True, True, True, False, True]
    np.testing.assert_array_equal(scan.kspace[0, :, 7], kspace[0, 0, 4])


def test_slices_are_in_the_order_of_space_and_repetitions_apart(write) -> None:
    kspace = counts(2, 3, 8, COILS, COLUMNS)
    scan = read(write(kspace, list(range(-4, 4)), rows=8, order=(0, 2, 1)))
    assert scan.images == ("repetition 0", "repetition 1")
    np.testing.assert_array_equal(scan.kspace, kspace.swapaxes(2, 3))
    assert np.diff(np.array(scan.geometry.positions_mm)[:, 2]).tolist() == [2, 2]


def test_a_volume_has_two_kinds_of_steps(write) -> None:
    kspace = counts(1, 4, 8, COILS, COLUMNS)
    steps, steps2 = [3, -4, 0, 1, -1, 2, -2, -3], [1, -2, 0, -1]
    scan = read(write(kspace, steps, rows=8, steps2=steps2))
    assert scan.spatial_ndim == 3
    for (z, step2), (y, step) in [(a, b) for a in enumerate(steps2) for b in enumerate(steps)]:
        np.testing.assert_array_equal(scan.kspace[:, step2 + 2, step + 4], kspace[0, z, y])
    assert scan.geometry.field_of_view_mm == (24, 30, 32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sequence": "<EPI.ppg>"}, "not known to be Cartesian"),
        ({"sequence": "<UTE.ppg>"}, "not known to be Cartesian"),
        ({"PVM_NEchoImages": 2}, "2 echoes"),
        ({"PVM_EncPft": [1.4, 1]}, "partial echo"),
        ({"steps": [0, 1, 2, 3, 4, 5, 6, 7]}, "steps from 0 to 7"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(options, words, write) -> None:
    steps = options.pop("steps", list(range(-4, 4)))
    folder = write(counts(1, 1, 8, COILS, COLUMNS), steps, rows=8, **options)
    with pytest.raises(DataError, match=words):
        read(folder)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_experiment_is_refused(share, write) -> None:
    folder = write(counts(1, 1, 8, COILS, COLUMNS), list(range(-4, 4)), rows=8)
    content = (folder / "fid").read_bytes()
    (folder / "fid").write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileError, match="truncated"):
        read(folder)


def test_a_folder_without_method_is_no_experiment(write) -> None:
    folder = write(counts(1, 1, 8, COILS, COLUMNS), list(range(-4, 4)), rows=8)
    (folder / "method").unlink()
    with pytest.raises(FileError, match="is a folder"):
        read(folder)


@pytest.mark.parametrize("name", ["method", "acqp"])
@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_give_a_named_error_or_an_image(name, write) -> None:
    folder = write(counts(1, 1, 8, COILS, COLUMNS), list(range(-4, 4)), rows=8)
    content = (folder / name).read_bytes()
    for seed in range(200):
        generator = np.random.default_rng(seed)
        damaged = bytearray(content)
        for at in generator.integers(0, len(content), 4):
            damaged[at] = generator.integers(256) if seed % 2 else generator.integers(48, 58)
        (folder / name).write_bytes(bytes(damaged))
        outcome = outcome_of(folder)
        if isinstance(outcome, FirenetError):
            assert str(folder) in str(outcome) or folder.name in str(outcome), seed
        else:
            assert outcome.kspace.numel() < 1 << 24, seed


def write_ute(folder: Path, kspace: np.ndarray, points: np.ndarray, **extra: object) -> Path:
    """Write (repetition, spoke, slice, coil, sample) as it is measured, and points, x first."""
    repetitions, spokes, slices, coils, samples = kspace.shape
    ndim = points.shape[-1]
    folder.mkdir()
    method: dict[str, object] = {
        "PVM_EncNReceivers": coils,
        "PVM_Matrix": [24, 20, 16][:ndim],
        "PVM_Fov": [24, 20, 16][:ndim],
        "NPro": spokes,
        "PVM_DigNp": samples,
        "PVM_SliceThick": 1.5,
        "PVM_SPackArrNSlices": [slices],
    }
    acqp: dict[str, object] = {
        "ACQ_sw_version": "<PV 6.0>",
        "PULPROG": "<UTE3D.ppg>" if ndim == 3 else "<UTE.ppg>",
        "GO_raw_data_format": "GO_32BIT_SGN_INT",
        "BYTORDA": "little",
        "GO_block_size": "Standard_KBlock_Format",
        "ACQ_dim": ndim,
        "ACQ_size": [2 * samples, *[spokes] * (ndim - 1)],
        "ACQ_phase_factor": 1,
        "ACQ_obj_order": list(range(slices)),
        "NI": slices,
        "NR": repetitions,
        "NSLICES": slices,
        **extra,
    }
    (folder / "method").write_text(jcamp(method))
    (folder / "acqp").write_text(jcamp(acqp))
    pairs = np.stack([kspace.real, kspace.imag], axis=-1).astype("<i4")
    blocks = pairs.reshape(repetitions * spokes * slices, -1)
    # Blocks of 1024 bytes.
    padded = np.zeros((len(blocks), -(-blocks.shape[1] // 256) * 256), "<i4")
    padded[:, : blocks.shape[1]] = blocks
    (folder / "fid").write_bytes(padded.tobytes())
    (folder / "traj").write_bytes(np.ascontiguousarray(points, "<f8").tobytes())
    return folder


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("repetitions", [1, 2])
def test_ute_is_read_with_the_points_beside_it(ndim, repetitions, tmp_path) -> None:
    slices = 3 if ndim == 2 else 1
    kspace = counts(repetitions, 7, slices, COILS, 30)
    generator = np.random.default_rng(1)
    points = generator.uniform(-0.5, 0.5, (7, 30, ndim))
    points[0, 0] = -0.5
    order = [0, 2, 1] if ndim == 2 else [0]
    scan = read(write_ute(tmp_path / "7", kspace, points, ACQ_obj_order=order))
    # Block i of a slice loop is slice order[i].
    expected = kspace[:, :, np.argsort(order)].transpose(0, 2, 3, 1, 4)
    expected = expected[:, 0] if ndim == 3 else expected
    np.testing.assert_array_equal(scan.kspace, expected if repetitions > 1 else expected[0])
    shape = (20, 24) if ndim == 2 else (16, 20, 24)
    assert scan.spatial_shape == shape
    np.testing.assert_allclose(scan.trajectory, points[..., ::-1] * shape)
    assert len(scan.images) == (repetitions if repetitions > 1 else 0)
    assert scan.geometry.field_of_view_mm[-1] == 24


def test_ute_without_all_of_its_points_is_refused(tmp_path) -> None:
    folder = write_ute(tmp_path / "7", counts(1, 7, 1, COILS, 30), np.full((7, 30, 2), 0.5))
    (folder / "traj").write_bytes((folder / "traj").read_bytes()[:-8])
    with pytest.raises(FileError, match="traj has 419 numbers, but 7 spokes of 30 samples"):
        read(folder)
    (folder / "traj").unlink()
    with pytest.raises(DataError, match="UTE with the file traj next to"):
        read(folder)
