"""What is trained on and what is held out: whole files, told apart by what is in them."""

from __future__ import annotations

import hashlib

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from training_scans import save_scan

from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.training.inputs import gather
from firenet_mri.training.simulated_cases import simulated_case
from firenet_mri.training.sources import measured, pictures_of


def gathered(scans=(), images=(), validation=(), seed=0):
    """Return the data of files, with maps that take no time."""
    return gather(scans, images, validation, ReadOptions(), "lowres", seed)


def save_picture(path, seed) -> None:
    """Write a picture that no other seed has."""
    values = np.random.default_rng(seed).integers(0, 255, (40, 44), dtype=np.uint8)
    Image.fromarray(values).save(path)


@pytest.fixture
def folder(tmp_path):
    """A folder of twelve pictures, with a file that is none."""
    for i in range(12):
        save_picture(tmp_path / f"{i}.png", i)
    (tmp_path / "notes.txt").write_text("who and when")
    return tmp_path


def test_a_tenth_of_the_files_is_held_out_by_a_seed(folder) -> None:
    data = gathered(images=[folder])
    assert (len(data.train), len(data.validation)) == (11, 1)
    assert data.held_out == "held out: 1 of 12 image files"
    assert data.shared == 0
    assert not {one.sha256 for one in data.train} & {one.sha256 for one in data.validation}
    held = {gathered(images=[folder], seed=seed).validation[0].sha256 for seed in range(6)}
    assert len(held) > 1
    files = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.png")}
    assert {one.sha256 for one in (*data.train, *data.validation)} == files


def test_copies_of_what_is_held_out_do_not_train(folder) -> None:
    for path in list(folder.glob("*.png")):
        Image.open(path).save(folder / f"copy of {path.name}", compress_level=0)
    data = gathered(images=[folder])
    assert (len(data.train), len(data.validation), data.shared) == (20, 2, 0)
    assert data.held_out == "held out: 2 of 24 image files, 2 left out, which show the same"


def test_slices_of_a_single_volume_are_split_with_a_gap(tmp_path) -> None:
    volume = np.random.default_rng(0).random((20, 22, 10), np.float32)
    volume[..., 3] = 0.01
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    data = gathered(images=[tmp_path / "a.nii.gz"])
    # Nine slices show something: seven train, one is left out, one validates.
    assert [len(part[0].items) for part in (data.train, data.validation)] == [7, 1]
    assert data.held_out == "held out: the last 1 of 9 slices of one image"
    first = pictures_of(data.train)[0]
    np.testing.assert_allclose(first, volume[..., 0].T / volume.max(), rtol=1e-6)


def test_scans_and_images_take_turns(tmp_path, folder) -> None:
    save_scan(tmp_path / "a.npy", seed=1)
    save_scan(tmp_path / "b.npy", seed=2)
    data = gathered(
        [tmp_path / "a.npy"], [folder / "1.png"], [folder / "2.png", tmp_path / "b.npy"]
    )
    assert [len(measured(part)) for part in (data.train, data.validation)] == [1, 1]
    assert [len(data.case(number).kspace) for number in range(3)][::2] == [4, 4]
    assert data.case(1).mask.shape[0] >= 96
    assert {case.mask.shape for case in data.validation_cases()} == {(128, 128), (36, 40)}


def test_a_validation_that_is_the_training_is_refused_and_a_part_is_counted(folder) -> None:
    with pytest.raises(DataError, match="12 of 12 validation slices are among the training's"):
        gathered(images=[folder], validation=[folder])
    few = [folder / f"{i}.png" for i in range(4)]
    own = [folder / f"{i}.png" for i in range(3, 12)]
    assert gathered(images=few, validation=own).shared == 1


def test_the_same_picture_in_another_file_is_found(folder) -> None:
    Image.open(folder / "1.png").save(folder / "copy.png", compress_level=0)
    with pytest.raises(DataError, match="1 of 1 validation slice is among"):
        gathered(images=[folder / "1.png"], validation=[folder / "copy.png"])


@pytest.mark.parametrize("kind", ["scan", "image"])
def test_one_slice_alone_is_too_little(tmp_path, kind) -> None:
    save_scan(tmp_path / "a.npy")
    save_picture(tmp_path / "a.png", 0)
    files = {"scan": [tmp_path / "a.npy"]} if kind == "scan" else {"image": [tmp_path / "a.png"]}
    with pytest.raises(DataError, match=f"One {kind} with 1 slice is too little"):
        gathered(files.get("scan", ()), files.get("image", ()))


def test_folders_and_files_without_images_are_named(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(FileError, match="holds no image"):
        gathered(images=[tmp_path])
    with pytest.raises(FileError, match=r"a\.txt: is not an image"):
        gathered(images=[tmp_path / "a.txt"])
    with pytest.raises(FileError, match="no such file"):
        gathered(images=[tmp_path / "b.png"])
    with pytest.raises(UsageError, match="neither scans nor images"):
        gathered()


def test_images_that_show_nothing_are_refused(tmp_path) -> None:
    for i in range(3):
        Image.fromarray(np.full((30, 30), 80 * i, np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.raises(DataError, match="training images show nothing"):
        gathered(images=[tmp_path])
    Image.fromarray(np.full((9, 30), 80, np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"small\.png: the image has \(9, 30\) pixels"):
        gathered(images=[tmp_path])


def test_cases_of_pictures_alone_are_those_of_their_seed(folder) -> None:
    data = gathered(images=[folder])
    case = data.case(3)
    again = simulated_case(pictures_of(data.train), 3)
    assert torch.equal(case.kspace, again.kspace)
