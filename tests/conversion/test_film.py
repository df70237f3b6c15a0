"""``firenet convert IMAGE film.gif``: as fast as the file says, or with a word that it does not."""

from __future__ import annotations

import numpy as np
import pytest
from firenet_command import firenet
from PIL import Image

from firenet_mri.geometry import AcquisitionParameters, Moment
from firenet_mri.io.image.mrd_images import write_mrd_images
from firenet_mri.io.image.nifti import write_nifti

SERIES = np.random.default_rng(0).random((4, 1, 12, 12))


def times_of(path) -> list[int]:
    with Image.open(path) as film:
        return [film.seek(i) or film.info["duration"] for i in range(film.n_frames)]


@pytest.mark.parametrize("name", ["cine.nii.gz", "cine.h5"])
def test_a_film_runs_as_fast_as_the_file_says(name, tmp_path) -> None:
    names = [f"phase {i}" for i in range(4)]
    known = AcquisitionParameters(moments=tuple(Moment(n, None, 60.0 * int(n[6])) for n in names))
    if name.endswith(".h5"):
        write_mrd_images(tmp_path / name, SERIES, None, names, parameters=known)
    else:
        write_nifti(tmp_path / name, SERIES, time_between_ms=60.0)
    result = firenet("convert", tmp_path / name, tmp_path / "film.gif")
    assert (result.status, result.err) == (0, "")
    assert times_of(tmp_path / "film.gif") == [60] * 4
    refused = firenet("convert", tmp_path / name, tmp_path / "film.gif")
    assert "exists; use --overwrite" in refused.err
    again = firenet(
        "convert", tmp_path / name, tmp_path / "film.gif", "--overwrite", "--frame-rate", "5"
    )
    assert again.status == 0
    assert times_of(tmp_path / "film.gif") == [200] * 4


def test_what_is_not_known_is_said_and_what_is_no_film_refused(tmp_path) -> None:
    write_nifti(tmp_path / "series.nii", SERIES)
    result = firenet("convert", tmp_path / "series.nii", tmp_path / "film.gif")
    assert "not known; 10 are shown per second" in result.err
    write_nifti(tmp_path / "one.nii", SERIES[0])
    for source, output, more, said in (
        ("one.nii", "b.gif", (), "is one image; a film needs several"),
        ("series.nii", "b.gif", ("--coils", "4"), "coils: does not apply to a film"),
        ("series.nii", "b.gif", ("--series", "1"), "can be chosen only among MRD images"),
        ("series.nii", "b.gif", ("--frame-rate", "90"), "give 1 to 50"),
        ("missing.nii", "b.gif", (), "no such file"),
        ("", "b.gif", (), "from a DICOM series dcm2niix makes NIfTI"),
        ("series.nii", "b.h5", ("--frame-rate", "9"), "applies only to a film"),
    ):
        result = firenet("convert", tmp_path / source, tmp_path / output, *more)
        assert result.status != 0, said
        assert said in result.err
        assert result.err.count("\n") == 1
        assert not (tmp_path / output).exists()
