"""MRD images of Gadgetron's, FIRE's and our making are read with place, type and counters."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import ismrmrd
import numpy as np
import pytest
from ismrmrd.serialization import ProtocolSerializer
from mrd_scans import make_header

from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry, Moment
from firenet_mri.io.image.mrd_images import write_mrd_images
from firenet_mri.io.image.mrd_series import read_mrd_images

READ, PHASE, SLICE = (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)
PLACE = Geometry((4.0, 90.0, 120.0), ((1.0, 2.0, 3.0), (6.0, 2.0, 3.0)), READ, PHASE, SLICE)
RNG = np.random.default_rng(0)
MAGNITUDE, PHASE_TYPE, REAL, IMAGINARY, COMPLEX = 1, 2, 3, 4, 5


def image(pixels: np.ndarray, **head: Any) -> Any:
    """Return an image, 120 x 90 mm, of which the header says this besides."""
    meta = head.pop("meta", {})
    made = ismrmrd.Image.from_array(np.ascontiguousarray(pixels))
    made.image_type = MAGNITUDE
    made.field_of_view[:] = 120, 90, 4 * made.data.shape[1]
    made.read_dir[:], made.phase_dir[:], made.slice_dir[:] = READ, PHASE, SLICE
    for name, value in head.items():
        if name in ("position", "read_dir", "phase_dir", "slice_dir", "field_of_view"):
            getattr(made, name)[:] = value
        else:
            setattr(made, name, value)
    made.meta = meta
    return made


def write(path: Path, groups: dict[str, Sequence[Any]], header: Any = None) -> Path:
    """Write groups of images as the ismrmrd package does."""
    with ismrmrd.File(str(path), "w") as file:
        for name, images in groups.items():
            file[name].images = images
        if header is not None:
            file["dataset"].header = header
    return path


def slices(count: int = 2, *, seed: int = 0, **head: Any) -> list[Any]:
    generator = np.random.default_rng(seed)
    return [
        image(
            generator.random((9, 12)).astype(np.float32),
            slice=i,
            position=(1 + 5 * i, 2, 3),
            **head,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_our_own_images_come_back(dtype, tmp_path) -> None:
    pixels = RNG.normal(size=(4, 2, 9, 24)).astype(np.float32)
    pixels = pixels.view(np.complex64) if dtype == np.complex64 else pixels[..., ::2]
    names = tuple(f"repetition {r}, contrast {c}" for r in range(2) for c in range(2))
    known = AcquisitionParameters(None, 40.0, (5.0, 9.0))
    write_mrd_images(tmp_path / "a.h5", pixels, PLACE, names, parameters=known, simulated=True)
    found = read_mrd_images(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.image, pixels)
    assert found.names == names
    assert found.component == ("complex" if dtype == np.complex64 else "magnitude")
    np.testing.assert_allclose(
        found.geometry.affine_ras((2, 9, 12)), PLACE.affine_ras((2, 9, 12)), atol=1e-5
    )
    assert found.parameters == known
    assert found.simulated


def test_slices_come_in_the_order_of_their_positions(tmp_path) -> None:
    one, two, three = slices(3)
    one.slice, two.slice, three.slice = 1, 0, 2
    found = read_mrd_images(write(tmp_path / "a.h5", {"dataset/image_0": [two, three, one]}))
    assert [position[0] for position in found.geometry.positions_mm] == [1, 6, 11]
    np.testing.assert_array_equal(found.image[0], one.data[0, 0])
    np.testing.assert_array_equal(found.image[2], three.data[0, 0])


def test_slices_that_nobody_counted_are_told_by_their_place(tmp_path) -> None:
    made = slices(3)
    for one in made:
        one.slice = 0
    found = read_mrd_images(write(tmp_path / "a.h5", {"dataset/image_0": made}))
    assert found.image.shape == (3, 9, 12)
    assert found.names == ()


def test_images_that_no_counter_tells_apart_are_images_of_their_own(tmp_path) -> None:
    made = [*slices(seed=0), *slices(seed=1)]
    found = read_mrd_images(write(tmp_path / "a.h5", {"dataset/image_0": made}))
    assert found.names == ("measurement 0", "measurement 1")
    np.testing.assert_array_equal(found.image[1, 0], made[2].data[0, 0])
    with pytest.raises(DataError, match="its images have 2 and 1 slice, so"):
        read_mrd_images(write(tmp_path / "b.h5", {"dataset/image_0": made[:3]}))


def test_a_volume_lies_about_its_centre(tmp_path) -> None:
    volume = image(RNG.random((5, 9, 12)).astype(np.float32), position=(1, 2, 3))
    found = read_mrd_images(write(tmp_path / "a.h5", {"dataset/image_0": [volume]}))
    assert found.image.shape == (5, 9, 12)
    affine = found.geometry.affine_lps((5, 9, 12))
    np.testing.assert_allclose((affine @ [6, 4, 2, 1])[:3], [1, 2, 3])
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), [10, 10, 4])


@pytest.mark.parametrize(
    ("image_type", "component"),
    [
        (0, "magnitude"),
        (PHASE_TYPE, "phase"),
        (REAL, "real"),
        (IMAGINARY, "imaginary"),
        (COMPLEX, "real"),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float64])
def test_types_and_rescaling(image_type, component, dtype, tmp_path) -> None:
    pixels = np.arange(108).reshape(9, 12).astype(dtype)
    meta = {"RescaleSlope": "0.5", "RescaleIntercept": "-3"}
    path = write(
        tmp_path / "a.h5", {"g/image_1": [image(pixels, image_type=image_type, meta=meta)]}
    )
    found = read_mrd_images(path)
    assert found.component == component
    assert found.image.dtype == np.float32
    np.testing.assert_array_equal(found.image[0], pixels / 2 - 3)


def test_series_are_chosen_by_name_or_number(tmp_path) -> None:
    path = write(
        tmp_path / "a.h5",
        {
            "dataset/image_10": slices(image_series_index=10),
            "dataset/image_2": [
                *slices(image_type=PHASE_TYPE, image_series_index=2),
                *slices(image_series_index=2),
            ],
        },
    )
    with pytest.raises(UsageError, match=r"3 series.*1: image_2 phase \(phase, 2 images\); 2: im"):
        read_mrd_images(path)
    assert read_mrd_images(path, "1").component == "phase"
    assert read_mrd_images(path, "image_2 magnitude").number == 2
    assert read_mrd_images(path, "image_10").number == 3
    for wanted in ("0", "4", "image_3", ""):
        with pytest.raises(
            UsageError, match="requested, but the file contains only 1: image_2 phase"
        ):
            read_mrd_images(path, wanted)


def test_a_localiser_is_a_series_for_each_orientation(tmp_path) -> None:
    axial = {"read_dir": (1, 0, 0), "phase_dir": (0, 1, 0), "slice_dir": (0, 0, 1)}
    made = [*slices(), image(np.ones((9, 12), np.float32), slice=2, **axial)]
    path = write(tmp_path / "a.h5", {"dataset/image_0": made})
    assert read_mrd_images(path, "image_0 stack 1").geometry.read_direction == READ
    assert read_mrd_images(path, "2").geometry.read_direction == (1, 0, 0)


def test_directions_of_the_attributes_are_those_of_pixels_that_were_turned(tmp_path) -> None:
    meta = {"ImageRowDir": ["0", "-1", "0"], "ImageColumnDir": ["0", "0", "-1"]}
    path = write(tmp_path / "a.h5", {"dataset/image_0": slices(meta=meta)})
    geometry = read_mrd_images(path).geometry
    assert geometry.read_direction == (0, -1, 0)
    assert geometry.phase_direction == (0, 0, -1)
    broken = {"ImageRowDir": ["0", "x", "0"], "ImageColumnDir": ["0", "0"]}
    path = write(tmp_path / "b.h5", {"dataset/image_0": slices(meta=broken)})
    assert read_mrd_images(path).geometry.read_direction == READ


def test_echo_times_come_from_the_header_or_the_images(tmp_path) -> None:
    header = make_header((12, 9, 1), vendor="simulated")
    header.sequenceParameters = ismrmrd.xsd.sequenceParametersType(TE=[4.0, 8.0], TR=[30.0])
    made = [*slices(contrast=0), *slices(contrast=1, seed=1)]
    found = read_mrd_images(write(tmp_path / "a.h5", {"dataset/image_0": made}, header))
    assert found.names == ("contrast 0", "contrast 1")
    assert found.parameters.echo_times_ms == (4.0, 8.0)
    assert found.parameters.repetition_time_ms == 30.0
    assert found.simulated
    two = write(tmp_path / "two.h5", {"dataset/image_0": made, "other/image_0": slices()}, header)
    assert read_mrd_images(two, "1").simulated
    assert not read_mrd_images(two, "2").simulated
    for one, time in zip(made, (5, 5, 7, 7), strict=True):
        one.meta = {"GADGETRON_TE": str(time)}
    found = read_mrd_images(write(tmp_path / "b.h5", {"x/image_0": made}))
    assert found.parameters.echo_times_ms == (5.0, 7.0)


def test_images_have_the_times_of_their_attributes_or_of_siemens_stamps(tmp_path) -> None:
    made = [line for i in range(3) for line in slices(phase=i, seed=i)]
    for one in made:
        one.acquisition_time_stamp = 5_000_000 + 4 * one.phase
        one.physiology_time_stamp[0] = 16 * one.phase + 2

    def moments(vendor: str, name: str) -> list[tuple]:
        header = make_header((12, 9, 1), vendor=vendor)
        found = read_mrd_images(write(tmp_path / name, {"dataset/image_0": made}, header))
        return [
            (one.image, one.from_first_ms, one.from_trigger_ms) for one in found.parameters.moments
        ]

    assert moments("SIEMENS", "a.h5") == [(f"phase {i}", 10.0 * i, 5 + 40.0 * i) for i in range(3)]
    assert moments("other", "b.h5") == []
    for one in made:
        one.meta = {"TriggerTime": str(30.0 * one.phase)}
    assert moments("other", "c.h5") == [(f"phase {i}", None, 30.0 * i) for i in range(3)]


def test_our_images_keep_their_times(tmp_path) -> None:
    names = ["phase 0", "phase 1"]
    known = AcquisitionParameters(
        moments=(Moment(names[0], 0.0, 20.0), Moment(names[1], 5.0, 60.0))
    )
    image = RNG.random((2, 2, 9, 12))
    write_mrd_images(tmp_path / "a.h5", image, PLACE, names, parameters=known)
    found = read_mrd_images(tmp_path / "a.h5")
    assert (found.names, found.parameters.moments) == (tuple(names), known.moments)
    with ismrmrd.File(str(tmp_path / "a.h5"), "r") as file:
        heads = [one.getHead() for one in file["dataset/image_0"].images]
    assert [head.physiology_time_stamp[0] for head in heads] == [8, 8, 24, 24]
    assert [head.acquisition_time_stamp for head in heads] == [0, 0, 2, 2]


def test_coils_are_images(tmp_path) -> None:
    pixels = RNG.random((3, 1, 9, 12)).astype(np.float32)
    found = read_mrd_images(write(tmp_path / "a.h5", {"dataset/image_0": [image(pixels)]}))
    assert found.names == ("channel 0", "channel 1", "channel 2")
    np.testing.assert_array_equal(found.image, pixels)


def test_a_place_that_is_not_said_is_not_made_up(tmp_path) -> None:
    nowhere = dict.fromkeys(("read_dir", "phase_dir", "slice_dir"), (0, 0, 0))
    made = slices(**nowhere)
    found = read_mrd_images(write(tmp_path / "a.h5", {"dataset/image_0": made}))
    assert not found.geometry.is_placed
    assert found.geometry.field_of_view_mm == (4, 90, 120)
    made = slices(field_of_view=(0, 0, 0))
    assert read_mrd_images(write(tmp_path / "b.h5", {"dataset/image_0": made})).geometry is None
    made = slices(3)
    made[2].position[0] = 50.0
    assert read_mrd_images(write(tmp_path / "c.h5", {"dataset/image_0": made})).geometry is None


def test_a_stream_of_images_is_read_and_its_integers_have_32_bits(tmp_path) -> None:
    path = tmp_path / "images.mrd"
    made = slices()
    with ProtocolSerializer(str(path)) as serializer:
        for one in made:
            serializer.serialize(one)
    found = read_mrd_images(path)
    assert found.name == "image_0"
    np.testing.assert_array_equal(found.image[1], made[1].data[0, 0])
    head = image(np.zeros((9, 12), np.float32)).getHead()
    head.data_type = 4
    pixels = np.arange(-50, 58, dtype="<i4")
    path.write_bytes(
        struct.pack("<H", 1022) + bytes(head) + struct.pack("<Q", 0) + pixels.tobytes()
    )
    np.testing.assert_array_equal(read_mrd_images(path).image.ravel(), pixels)


def test_files_without_images_say_what_they_are(tmp_path) -> None:
    with pytest.raises(FileError, match="contains no MRD images; use firenet recon"):
        read_mrd_images(Path(__file__).parents[3] / "sample_data/brain_3slices.h5")
    (tmp_path / "a.nii").write_bytes(bytes(344) + b"n+1\0")
    with pytest.raises(FileError, match="it is a NIfTI file"):
        read_mrd_images(tmp_path / "a.nii")
    with pytest.raises(FileError, match="no such file"):
        read_mrd_images(tmp_path / "b.h5")
    path = write(tmp_path / "c.h5", {"dataset/image_0": slices()})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match=r"truncated or damaged|contains no MRD images"):
        read_mrd_images(path)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["x/header"], file["x/data"] = np.zeros(3), np.zeros(3)
    with pytest.raises(FileError, match="contains no MRD images"):
        read_mrd_images(tmp_path / "d.h5")


def test_pixels_that_are_no_image_are_refused(tmp_path) -> None:
    made = slices()
    made[0].data[0, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        read_mrd_images(write(tmp_path / "a.h5", {"dataset/image_0": made}))
    with pytest.raises(DataError, match="coloured"):
        read_mrd_images(write(tmp_path / "b.h5", {"dataset/image_0": slices(image_type=6)}))
