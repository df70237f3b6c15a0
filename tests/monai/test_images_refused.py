"""No transform, model, reader or command takes an image for k-space; each says what to do."""

from __future__ import annotations

import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import sigpy
import torch
from firenet_command import firenet
from monai.data import MetaTensor, list_data_collate
from monai.transforms import EnsureChannelFirst, LoadImage
from PIL import Image

import firenet_mri.monai as fm
from firenet_mri import RawScan, read, reconstruct
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io.image.dicom import write_dicom_series
from firenet_mri.operators.centred import centred_fft
from firenet_mri.phantoms import ellipses
from firenet_mri.scan import Geometry
from firenet_mri.sigpy import FIRENETRecon

SAMPLE = "sample_data/brain_8coil.h5"
REFUSED = r"is an image, not k-space.*SimulateKspace"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the same volume, 24 x 24 x 16, as NIfTI, DICOM, PNG and NumPy files."""
    path = tmp_path_factory.mktemp("images")
    volume = ellipses(24, 16, seed=0).numpy().T
    affine = np.diag([2.0, 2, 3, 1])
    nibabel.save(nibabel.Nifti1Image(volume, affine), path / "magnitude.nii.gz")
    phase = np.linspace(0, 2, 24, dtype=np.float32)[:, None, None]
    turned = (volume * np.exp(1j * phase)).astype(np.complex64)
    nibabel.save(nibabel.Nifti1Image(turned, affine), path / "complex.nii.gz")
    place = Geometry.from_affine(np.diag([-1.0, -1, 1, 1]) @ affine, (16, 24, 24))
    write_dicom_series(path / "dicom", np.ascontiguousarray(volume.T), place)
    Image.fromarray((255 * volume[..., 0]).astype(np.uint8)).save(path / "slice.png")
    np.save(path / "image.npy", turned)
    return path


def loaded(folder, name: str) -> MetaTensor:
    """Return an image as the advice of the errors used to have it: in complex numbers."""
    reader = fm.ComplexNiftiReader() if name == "complex.nii.gz" else None
    return LoadImage(reader=reader, dtype=np.complex64, image_only=True)(str(folder / name))


TRANSFORMS = {
    "whiten": fm.WhitenCoils(),
    "compress": fm.CompressCoils(2),
    "maps": fm.EstimateSensitivity("lowres"),
    "mask": fm.FixedKspaceMask(),
    "reconstruct": fm.FIRENETReconstruct(layers=1, maps="lowres"),
    "certificate": lambda image: fm.StabilityCertificate()(image, image),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize(
    "name", ["magnitude.nii.gz", "complex.nii.gz", "dicom", "slice.png", "image.npy"]
)
def test_no_transform_takes_an_image(transform, name, folder) -> None:
    image = loaded(folder, name)
    for given in (image, EnsureChannelFirst(channel_dim="no_channel")(image), image.as_tensor()):
        with pytest.raises(DataError, match=REFUSED):
            transform(given)


@pytest.mark.parametrize("name", ["magnitude.nii.gz", "complex.nii.gz", "dicom", "image.npy"])
def test_the_model_takes_no_image_and_no_batch_of_images(name, folder) -> None:
    model = fm.FIRENETModel(layers=1, maps="lowres")
    image = loaded(folder, name)
    for given in (image[None], torch.view_as_real(image.as_tensor())[None]):
        with pytest.raises(DataError, match=REFUSED):
            model(given)
    with pytest.raises(DataError, match=REFUSED):
        model(list_data_collate([{"image": image}, {"image": image}])["image"])


def test_real_magnitudes_are_called_an_image_and_not_sent_for_an_imaginary_part(folder) -> None:
    """The advice dtype=complex64 made 24 "coils" of 24 columns."""
    image = LoadImage(image_only=True)(str(folder / "magnitude.nii.gz"))
    for given in (image, image.as_tensor(), image[..., :2], image.numpy()):
        with pytest.raises(DataError, match=REFUSED) as caught:
            fm.FIRENETReconstruct()(given)
        assert "complex64" not in str(caught.value)
    with pytest.raises(DataError, match=REFUSED):
        fm.FIRENETReconstructd("image")({"image": image})


def test_what_was_reconstructed_is_an_image() -> None:
    kspace = fm.SimulateKspace(coils=2, acceleration=1)(ellipses(32, 1, seed=0))
    for image in (
        fm.FIRENETReconstruct(layers=1, maps="lowres", output="complex")(kspace),
        fm.FIRENETModel(layers=1, maps="lowres", output="complex")(kspace[None]),
    ):
        with pytest.raises(DataError, match=REFUSED):
            fm.FIRENETReconstruct()(image)


def test_the_user_may_say_that_an_array_with_an_affine_is_kspace() -> None:
    kspace = MetaTensor(read(SAMPLE).kspace[0], meta={"original_affine": torch.eye(4)})
    with pytest.raises(DataError, match=r"meta\['domain'\] = 'kspace'"):
        fm.FixedKspaceMask()(kspace)
    kspace.meta["domain"] = "kspace"
    assert fm.FixedKspaceMask()(kspace).kspace.shape[-1] == 2


@pytest.mark.filterwarnings("ignore:.*centre of k-space")
def test_kspace_of_every_kind_is_welcome() -> None:
    generator = torch.Generator().manual_seed(0)
    model = fm.FIRENETModel(layers=1, maps="lowres")
    noise = torch.randn(2, 3, 32, 32, 2, generator=generator)
    fully = centred_fft(ellipses(32, 2, seed=0)[:, None] + 0j, (-2, -1))
    for kspace in (noise, torch.rand(1, 3, 32, 32, 2), torch.ones(1, 3, 32, 32, 2), fully):
        model(kspace)
        model(fm.FixedKspaceMask(center_fraction=0.0)(kspace).kspace)
    transformed = fm.FIRENETReconstruct(layers=1, maps="lowres")
    transformed(fm.FixedKspaceMask(native_complex=True)(fm.LoadKspace()(SAMPLE)).kspace)


READERS = [fm.MRDReader(), fm.FastMRIKspaceReader(), fm.CflReader()]


@pytest.mark.parametrize("name", ["magnitude.nii.gz", "dicom", "slice.png", "image.npy"])
def test_no_reader_of_scans_takes_an_image(name, folder) -> None:
    path = folder / name
    with pytest.raises((FileError, DataError), match="firenet simulate"):
        fm.LoadKspace()(path)
    for reader in READERS[:2]:
        with pytest.raises((FileError, DataError), match="firenet simulate"):
            reader.get_data(reader.read(path))


@pytest.mark.parametrize("name", ["magnitude.nii.gz", "dicom", "slice.png", "image.npy"])
def test_recon_of_an_image_says_what_to_do(name, folder, tmp_path) -> None:
    result = firenet("recon", folder / name, "-o", tmp_path / "out.nii.gz")
    assert result.status == 1
    assert "image" in result.err
    assert "firenet simulate" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["info", "batch"])
def test_commands_on_folders_say_that_they_hold_images(command, folder, tmp_path) -> None:
    output = ("-o", tmp_path / "out") if command == "batch" else ()
    result = firenet(command, folder / "dicom", *output)
    assert result.status
    assert "is a folder of DICOM files" in result.err
    assert "firenet simulate" in result.err


def test_a_folder_of_other_things_is_only_a_folder(folder, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(FileError, match="is a folder; give a scan file in it"):
        read(tmp_path)
    shutil.copytree(folder / "dicom", tmp_path / "study" / "series")
    with pytest.raises(FileError, match="DICOM"):
        read(tmp_path / "study")


def test_no_face_takes_an_image_that_was_made_a_scan_by_hand(folder) -> None:
    coils = np.asarray(nibabel.load(folder / "complex.nii.gz").dataobj).T[:4]
    scan = RawScan(
        torch.from_numpy(coils.copy()), torch.ones(1, 24, 24, dtype=torch.bool), 2, name="mine"
    )
    maps = torch.full((4, 24, 24), 0.5, dtype=torch.complex64)
    for face in (
        lambda: reconstruct(scan, layers=1, maps=maps),
        lambda: fm.FIRENETReconstruct(layers=1)(scan, sens_maps=maps),
        lambda: FIRENETRecon(scan.kspace.numpy(), maps.numpy(), layers=1, show_pbar=False),
    ):
        with pytest.raises(DataError, match=REFUSED):
            face()
    # Of a file there is a warning, since scanners know what they write.
    result = reconstruct(replace(scan, record={"slices": None}), layers=1, maps=maps)
    assert any("image" in line for line in result.warning_lines)


def test_an_array_that_is_given_for_a_scan_is_named() -> None:
    with pytest.raises(UsageError, match=r"ndarray given as a scan; give the result of"):
        reconstruct(np.zeros((2, 8, 8), np.complex64))


def test_samples_of_an_own_operator_may_look_like_an_image_but_not_be_called_one(folder) -> None:
    samples = loaded(folder, "complex.nii.gz")[..., 5]
    operator = sigpy.linop.Reshape((1, 24, 24), (24, 24))
    transform = fm.FIRENETReconstruct(encoding=operator, image_axes="kspace", layers=1)
    model = fm.FIRENETModel(encoding=operator, output="magnitude", layers=1)
    plain = samples.as_tensor()[None]
    torch.testing.assert_close(transform(plain).as_tensor()[0], model(plain[None])[0])
    for call in (lambda: transform(samples[None]), lambda: model(samples[None, None])):
        with pytest.raises(DataError, match=REFUSED):
            call()
