"""Complex NIfTI images come back with both parts, in any orientation."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.image.complex_nifti import read_complex_nifti

AFFINES = {
    "axial": np.diag([-1.0, 1.5, 3, 1]),
    "coronal": np.array([[1.0, 0, 0, 5], [0, 0, 4, -3], [0, 1, 0, 2], [0, 0, 0, 1]]),
    "sagittal": np.array([[0, 0, 3.0, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]]),
    "oblique": nibabel.affines.from_matvec(
        nibabel.eulerangles.euler2mat(0.3, 0.2, 0.1) @ np.diag([1, 2, 3]), [4, 5, 6]
    ),
}


def random(*shape: int) -> np.ndarray:
    generator = np.random.default_rng(1)
    return generator.normal(size=shape) + 1j * generator.normal(size=shape)


@given(
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    dtype=st.sampled_from([np.complex64, np.complex128]),
    orientation=st.sampled_from(sorted(AFFINES)),
    suffix=st.sampled_from([".nii", ".nii.gz"]),
)
@settings(deadline=None, max_examples=25)
def test_complex_files_are_what_nibabel_reads(
    tmp_path_factory, shape, dtype, orientation, suffix
) -> None:
    path = tmp_path_factory.mktemp("nifti") / f"a{suffix}"
    nibabel.save(nibabel.Nifti1Image(random(*shape).astype(dtype), AFFINES[orientation]), path)
    found = read_complex_nifti(path)
    expected = nibabel.load(path)
    np.testing.assert_array_equal(found.image, np.asanyarray(expected.dataobj).astype(np.complex64))
    np.testing.assert_array_equal(found.affine_ras, expected.affine)


def save(folder, name, array, affine=AFFINES["oblique"]):
    path = folder / f"sub-01_{name}_T2starw.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), affine), path)
    return path


@pytest.mark.parametrize("first", ["mag", "phase"])
def test_magnitude_and_phase_are_put_together(tmp_path, first) -> None:
    image = random(4, 3, 2)
    save(tmp_path, "part-mag", np.abs(image))
    phase = save(tmp_path, "part-phase", np.angle(image))
    (tmp_path / "sub-01_part-phase_T2starw.json").write_text(json.dumps({"Units": "rad"}))
    found = read_complex_nifti(tmp_path / f"sub-01_part-{first}_T2starw.nii.gz")
    np.testing.assert_allclose(found.image, image, atol=1e-5)
    save(tmp_path, "part-phase", np.angle(image) * 4096 / np.pi)
    (tmp_path / "sub-01_part-phase_T2starw.json").write_text(json.dumps({"Units": "arbitrary"}))
    with pytest.raises(DataError, match=r"arbitrary.*phase_scale"):
        read_complex_nifti(phase)
    found = read_complex_nifti(phase, phase_scale=np.pi / 4096)
    np.testing.assert_allclose(found.image, image, atol=1e-5)
    with pytest.raises(DataError, match="not an angle in radians"):
        read_complex_nifti(phase, phase_scale=1)


def test_real_and_imaginary_part_are_put_together(tmp_path) -> None:
    image = random(4, 3, 2)
    path = save(tmp_path, "part-real", image.real)
    with pytest.raises(FileError, match="part-imag"):
        read_complex_nifti(path)
    save(tmp_path, "part-imag", image.imag)
    np.testing.assert_allclose(read_complex_nifti(path).image, image, atol=1e-6)
    save(tmp_path, "part-imag", image.imag, AFFINES["axial"])
    with pytest.raises(DataError, match="different positions"):
        read_complex_nifti(path)
    save(tmp_path, "part-imag", image.imag[:2])
    with pytest.raises(DataError, match=r"\(4, 3, 2\).*\(2, 3, 2\)"):
        read_complex_nifti(path)


def test_what_is_no_complex_image_is_refused(tmp_path) -> None:
    real = tmp_path / "real.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), real)
    with pytest.raises(DataError, match=r"real\.nii\.gz: holds float32"):
        read_complex_nifti(real)
    nan = tmp_path / "nan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), np.nan + 1j), np.eye(4)), nan)
    with pytest.raises(DataError, match="NaN"):
        read_complex_nifti(nan)
    whole = tmp_path / "whole.nii"
    nibabel.save(nibabel.Nifti1Image(random(9, 9, 9), np.eye(4)), whole)
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(FileError, match=r"whole\.nii.*truncated"):
        read_complex_nifti(whole)
    text = tmp_path / "text.nii"
    text.write_text("no image" * 100)
    with pytest.raises(FileError, match=r"text\.nii"):
        read_complex_nifti(text)
    with pytest.raises(FileError, match="no such file"):
        read_complex_nifti(tmp_path / "nothing.nii")
