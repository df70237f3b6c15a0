"""MONAI's LoadImage reads k-space and complex images through our readers, or says why not."""

from __future__ import annotations

import pickle
import subprocess
import sys

import h5py
import monai.transforms as mt
import nibabel
import numpy as np
import pytest
import torch
from laws import assert_close
from monai.apps.reconstruction.fastmri_reader import FastMRIReader
from monai.apps.reconstruction.transforms.dictionary import (
    EquispacedKspaceMaskd,
    ExtractDataKeyFromMetaKeyd,
)
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    MetaTensor,
    NibabelReader,
    PersistentDataset,
)
from monai.transforms import Compose, EnsureTyped, LoadImage, LoadImaged, SaveImaged

import firenet_mri.monai as fm
from firenet_mri import read
from firenet_mri.errors import UsageError

SAMPLE = "sample_data/brain_8coil.h5"


def load(reader, path):
    return LoadImage(reader=reader, image_only=True, dtype=np.complex64)(path)


@pytest.fixture
def kspace() -> np.ndarray:
    generator = np.random.default_rng(0)
    shape = (2, 3, 10, 8)
    kspace = generator.normal(size=shape) + 1j * generator.normal(size=shape)
    kspace[..., 1] = 0
    return kspace.astype(np.complex64)


@pytest.fixture
def fastmri(kspace, tmp_path) -> str:
    path = tmp_path / "volume.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file["reconstruction_rss"] = np.ones((2, 6, 6), np.float32)
        file.attrs.update({"max": np.float32(2), "norm": 3.0, "acquisition": "AXT2"})
        file.attrs["patient_id"] = "Doe"
    return str(path)


def test_an_ismrmrd_file_is_loaded_with_its_place() -> None:
    image = load(fm.MRDReader, SAMPLE)
    scan = read(SAMPLE)
    assert torch.equal(image.as_tensor(), scan.kspace)
    np.testing.assert_allclose(image.affine, scan.geometry.affine_ras((1, *scan.spatial_shape)))
    assert torch.equal(torch.as_tensor(image.meta["mask"][..., 0]), scan.mask)
    reconstructed = fm.FIRENETReconstruct(layers=2)(image)
    assert_close(reconstructed, fm.FIRENETReconstruct(layers=2)(fm.LoadKspace()(SAMPLE)))


def test_a_fastmri_file_is_loaded_as_h5py_and_monai_do(fastmri, kspace) -> None:
    image = load(fm.FastMRIKspaceReader, fastmri)
    np.testing.assert_array_equal(image.numpy(), kspace)
    assert image.meta["max"] == 2.0
    assert image.meta["acquisition"] == "AXT2"
    assert "Doe" not in str(image.meta)
    theirs, header = FastMRIReader().get_data(FastMRIReader().read(fastmri))
    np.testing.assert_array_equal(image.numpy(), theirs)
    np.testing.assert_array_equal(image.meta["reconstruction_rss"], header["reconstruction_rss"])


@pytest.mark.filterwarnings("ignore:item . of masked_kspace")
@pytest.mark.parametrize("dataset", [Dataset, CacheDataset])
@pytest.mark.parametrize("workers", [0, 1])
def test_our_reader_stands_in_the_tutorials_pipeline(dataset, workers, fastmri) -> None:
    pipeline = Compose(
        [
            LoadImaged(
                keys=["kspace"],
                reader=fm.FastMRIKspaceReader,
                image_only=False,
                dtype=np.complex64,
            ),
            ExtractDataKeyFromMetaKeyd(
                keys=["reconstruction_rss", "mask"], meta_key="kspace_meta_dict"
            ),
            EquispacedKspaceMaskd(
                keys=["kspace"], center_fractions=[0.4], accelerations=[2], spatial_dims=2
            ),
            EnsureTyped(keys=["kspace", "kspace_masked_ifft", "reconstruction_rss"]),
        ]
    )
    items = [{"kspace": fastmri}] * 2
    loader = DataLoader(dataset(items, pipeline), batch_size=2, num_workers=workers)
    (batch,) = list(loader)
    assert batch["kspace_masked"].shape == (2, 2, 3, 10, 8, 2)
    assert batch["reconstruction_rss"].shape == (2, 2, 6, 6)
    image = fm.FIRENETModel(maps="lowres", layers=2)(batch["kspace_masked"][0], batch["mask"][0, 0])
    assert image.shape == (2, 10, 8)


@pytest.mark.filterwarnings("error:Corrupt cache file")
def test_a_cache_on_disk_gives_metadata_back(fastmri, tmp_path) -> None:
    load = Compose([LoadImaged("kspace", reader=fm.FastMRIKspaceReader, dtype=np.complex64)])
    for _ in range(2):
        data = PersistentDataset([{"kspace": fastmri}], load, tmp_path / "cache", track_meta=True)
        assert data[0]["kspace"].meta["reconstruction_rss"].shape == (2, 6, 6)


def test_a_bart_file_is_loaded(kspace, tmp_path) -> None:
    _write_cfl(tmp_path / "k", kspace[0])
    image = load(fm.CflReader, str(tmp_path / "k.cfl"))
    assert torch.equal(image.as_tensor(), read(tmp_path / "k.cfl").kspace)
    np.testing.assert_array_equal(image.numpy().reshape(kspace[0].shape), kspace[0])


def _write_cfl(path, kspace) -> None:
    """Write (coil, y, x) as BART has it: x, y, z, coil, the first axis fastest."""
    coils, rows, columns = kspace.shape
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{columns} {rows} 1 {coils}\n")
    path.with_suffix(".cfl").write_bytes(np.ascontiguousarray(kspace).tobytes())


def test_a_complex_nifti_image_is_loaded_where_monai_puts_it(tmp_path) -> None:
    generator = np.random.default_rng(0)
    array = generator.normal(size=(4, 5, 6)) + 1j * generator.normal(size=(4, 5, 6))
    affine = np.array([[0, 0, 3.0, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]])
    path = str(tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(array.astype(np.complex64), affine), path)
    image = LoadImage(
        reader=fm.ComplexNiftiReader, image_only=True, dtype=None, ensure_channel_first=True
    )(path)
    theirs = LoadImage(reader=NibabelReader, image_only=True, dtype=None)(path)
    assert image.shape == (1, 4, 5, 6)
    assert torch.equal(image.as_tensor()[0], theirs.as_tensor())
    assert torch.equal(image.affine, theirs.affine)


def test_a_complex_dicom_series_is_loaded(tmp_path) -> None:
    sys.path.insert(0, "tests/io")
    from dicom_series import classic

    values = np.random.default_rng(0).integers(0, 4000, (5, 4, 3)).astype(float)
    axes = np.array([[1.0, 0, 0], [0, 1, 0]])
    for letter in "RI":
        classic(tmp_path, values, ("A", "B", letter), axes, "1.2")
    image = load(fm.ComplexDicomReader, str(tmp_path))
    np.testing.assert_allclose(image.numpy(), values * (1 + 1j))
    assert image.meta["space"] == "RAS"
    assert "Doe" not in str(image.meta)


def test_a_dicom_series_of_magnitudes_is_loaded_when_that_is_asked_for(tmp_path) -> None:
    sys.path.insert(0, "tests/io")
    from dicom_series import enhanced

    values = np.random.default_rng(0).integers(0, 4000, (5, 4, 3)).astype(float)
    axes = np.array([[1.0, 0, 0], [0, 1, 0]])
    enhanced(tmp_path / "e.dcm", {"MAGNITUDE": values}, axes, 1.0, echo_times=(5, 10))
    with pytest.raises(Exception, match=r"only the magnitude.*magnitude=True"):
        load(fm.ComplexDicomReader(echo=1), str(tmp_path))
    image = load(fm.ComplexDicomReader(magnitude=True, echo=1), str(tmp_path))
    np.testing.assert_array_equal(image.numpy(), values // 2)
    assert image.dtype == torch.complex64
    with pytest.raises(UsageError, match="ech"):
        fm.ComplexDicomReader(ecko=1)


@pytest.mark.parametrize(
    ("reader", "name", "content", "message"),
    [
        (fm.MRDReader, "a.h5", b"no HDF5" * 100, r"a\.h5"),
        (fm.FastMRIKspaceReader, "a.h5", b"no HDF5" * 100, r"a\.h5"),
        (fm.CflReader, "a.cfl", b"12345678", r"a\.cfl.*\.hdr"),
        (fm.ComplexNiftiReader, "a.nii", b"no NIfTI" * 100, r"a\.nii"),
        (fm.ComplexDicomReader, "a.dcm", b"no DICOM" * 100, r"a\.dcm.*not a DICOM"),
    ],
)
def test_our_error_reaches_the_user_of_load_image(reader, name, content, message, tmp_path) -> None:
    """And MONAI's own readers do not open the file in our reader's place."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Exception, match=message):
        load(reader, str(path))
    with pytest.raises(Exception, match=r"2 files|not a DICOM|holds"):
        load(reader, [str(path), str(path)])


def test_readers_of_the_other_hdf5_format_are_told_apart(fastmri) -> None:
    with pytest.raises(Exception, match="use FastMRIKspaceReader"):
        load(fm.MRDReader, fastmri)
    with pytest.raises(Exception, match="not a fastMRI file"):
        load(fm.FastMRIKspaceReader, SAMPLE)
    assert fm.MRDReader().verify_suffix(SAMPLE)
    assert not fm.MRDReader().verify_suffix(fastmri)
    assert fm.FastMRIKspaceReader().verify_suffix((fastmri,))
    assert not fm.FastMRIKspaceReader().verify_suffix(SAMPLE)


def test_readers_are_picklable() -> None:
    for reader in (fm.MRDReader(), fm.ComplexDicomReader(phase_scale=0.5)):
        again = pickle.loads(pickle.dumps(reader))
        assert vars(again) == vars(reader)


AFFINES = {
    "axial": np.diag([-1.0, -1.5, 3, 1]),
    "coronal": np.array([[1.0, 0, 0, 5], [0, 0, 4, -3], [0, 1, 0, 2], [0, 0, 0, 1]]),
    "sagittal": np.array([[0, 0, 3.0, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]]),
    "oblique": nibabel.affines.from_matvec(
        nibabel.eulerangles.euler2mat(0.3, 0.2, 0.1) @ np.diag([1, 2, 3]), [4, 5, 6]
    ),
}


@pytest.mark.parametrize("slices", [1, 4])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.float32])
@pytest.mark.parametrize("orientation", AFFINES)
def test_the_writer_keeps_parts_and_orientation(orientation, dtype, slices, tmp_path) -> None:
    image = torch.randn(1, 5, 6, slices, dtype=dtype)
    affine = AFFINES[orientation]
    save = SaveImaged(
        keys="image",
        output_dir=tmp_path,
        writer=fm.ComplexNiftiWriter,
        resample=False,
        separate_folder=False,
        print_log=False,
    )
    save({"image": MetaTensor(image, affine=affine, meta={"filename_or_obj": "scan.h5"})})
    (path,) = tmp_path.iterdir()
    written = nibabel.load(path)
    assert written.shape == (5, 6, slices)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), image[0].numpy())
    np.testing.assert_allclose(written.affine, affine, atol=1e-5)
    np.testing.assert_allclose(written.get_qform(), affine, atol=1e-4)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)
    assert written.header.get_xyzt_units()[0] == "mm"


def test_the_writer_refuses_to_resample_complex_images(tmp_path) -> None:
    image = MetaTensor(torch.randn(1, 4, 4, 4, dtype=torch.complex64), affine=np.eye(4))
    image.meta["original_affine"] = np.diag([2.0, 2, 2, 1])
    save = mt.SaveImage(
        output_dir=tmp_path, writer=fm.ComplexNiftiWriter, resample=True, print_log=False
    )
    with pytest.raises(Exception, match="resample=False"):
        save(image)
    assert not list(tmp_path.glob("**/*.nii*"))


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_registration_leaves_monais_own_reading_and_writing_intact(tmp_path, fastmri) -> None:
    """As the first thing that a process does, which empties MONAI's registry otherwise."""
    script = """
import sys
import firenet_mri.monai as fm
from monai.transforms.io.array import SUPPORTED_READERS
assert "mrdreader" not in SUPPORTED_READERS, "on import"
fm.register(); fm.register()
import numpy as np, torch
import firenet_mri
from firenet_mri.io.image.dicom import write_enhanced_dicom
from monai.data import MetaTensor, NibabelWriter
from monai.data.image_writer import resolve_writer
from monai.transforms import LoadImage, SaveImage
assert resolve_writer("nii.gz")[0] is NibabelWriter
assert fm.ComplexNiftiWriter in resolve_writer("nii.gz")
assert resolve_writer("png")
folder, fastmri = sys.argv[1:]
SaveImage(folder, output_ext=".nii.gz", separate_folder=False, resample=False, print_log=False)(
    MetaTensor(torch.rand(1, 4, 4, 4), meta={"filename_or_obj": "a"}))
SaveImage(folder, output_ext=".png", separate_folder=False, resample=False, print_log=False)(
    MetaTensor(torch.rand(1, 4, 4), meta={"filename_or_obj": "b"}))
assert LoadImage()(folder + "/a_trans.nii.gz").shape == (4, 4, 4)
one = LoadImage(reader="MRDReader", dtype=np.complex64)("sample_data/brain_8coil.h5")
two = LoadImage(dtype=np.complex64)("sample_data/brain_8coil.h5")
assert torch.equal(one.as_tensor(), two.as_tensor())
assert LoadImage(dtype=np.complex64)(fastmri).shape == (2, 3, 10, 8)
path = __import__("pathlib").Path(folder) / "image.dcm"
place = firenet_mri.Geometry((4.0, 8.0, 9.0), ((1.0, 2.0, 3.0), (1.0, 2.0, 8.0)))
pixels = np.random.default_rng(0).random((2, 5, 6))
write_enhanced_dicom(path, pixels, place)
image = LoadImage()(str(path))
np.testing.assert_allclose(image.numpy(), pixels.T, atol=2e-5)
np.testing.assert_allclose(image.affine, place.affine_ras((2, 5, 6)), atol=1e-5)
print(sorted(p.name for p in __import__("pathlib").Path(folder).glob("?_trans*")))
"""
    assert run(script, str(tmp_path), fastmri).split("\n")[-2] == str(
        ["a_trans.nii.gz", "b_trans.png"]
    )
