"""``firenet design`` writes a mask that ``firenet recon`` takes, and says what the theory says."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
import sigpy
import sigpy.mri

import firenet_mri.cli.design  # noqa: F401
from firenet_mri import read
from firenet_mri.cli import main
from firenet_mri.firenet.sampling import sampling_design


@pytest.fixture
def firenet(monkeypatch, capsys, tmp_path):
    """Run the command in this process, in an empty folder; return what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(arguments: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["firenet", *arguments.split()])
        with pytest.raises(SystemExit) as raised:
            main()
        output = capsys.readouterr()
        assert raised.value.code == status, output.err
        return output.err if status else output.out

    return run


def numbers(text: str, row: str) -> list[float]:
    """The numbers of a table's row."""
    (line,) = (line for line in text.splitlines() if re.search(rf"^│ {row} +│", line))
    return [float(cell.strip(" %")) for cell in line.split("│")[2:-1]]


def test_design_of_the_paper_is_written_and_explained(firenet, tmp_path) -> None:
    said = firenet("design 256 --rate .15 --wavelet haar -o mask.npy --seed 1")
    mask = np.load(tmp_path / "mask.npy")
    assert mask.dtype == bool
    assert mask.shape == (256, 256)
    assert mask.sum() == 9830
    assert (tmp_path / "mask.png").read_bytes().startswith(b"\x89PNG")
    assert numbers(said, "1")[:3] == [16, 15, 9.3524]
    assert numbers(said, "7")[:3] == [49152, 440, 1.7268]
    samples = [numbers(said, str(level))[4] for level in range(1, 8)]
    assert sum(samples) == 9830
    # kappa = 7, rho = 1/2, gamma = sqrt(2), worked out by hand from the theorem's formulas.
    k = 7**0.25
    assert numbers(said, "C1") == pytest.approx(
        [(0.5 + 0.75 * k) * 3, (0.75 + 0.875 * k) * 7], rel=1e-3
    )
    assert numbers(said, "C2") == pytest.approx(
        [(3 + 3.5 * k) * 2**0.5, 2 * (7 + 7.5 * k) * 2**0.5], rel=1e-3
    )
    assert numbers(said, "inner iterations p") == [67, 296]
    assert numbers(said, "layers n p") == [67 * 8, 296 * 9]
    assert "kappa = 7" in said
    assert "assumed, not verified" in said
    assert "logarithmic factors L are not verified" in said


def test_mask_is_taken_by_recon(firenet, tmp_path) -> None:
    kspace = sigpy.fft(
        sigpy.mri.birdcage_maps((4, 48, 40)) * sigpy.shepp_logan((48, 40)), axes=(-2, -1)
    )
    np.save(tmp_path / "scan.npy", kspace.astype(np.complex64))
    firenet("design 48x40 --rate .6 --kind lines --calibration 20 -o mask.npy")
    mask = np.load(tmp_path / "mask.npy")
    assert mask[:, 0].sum() == round(0.6 * 48)
    firenet("recon scan.npy -o image.nii --mask mask.npy --layers 2")
    assert (tmp_path / "image.nii").exists()


def test_sparsities_come_from_an_image_or_from_the_user(firenet, tmp_path) -> None:
    image = np.zeros((1, 32, 32))
    image[0, 5:20, 7:9] = 3.0
    np.save(tmp_path / "image.npy", image)
    measured = firenet("design 32 --image image.npy -o a.npy")
    assert "image.npy" in measured
    sparsities = [int(numbers(measured, str(level))[1]) for level in range(1, 5)]
    text = ",".join(str(s) for s in sparsities)
    given = firenet(f"design 32 --sparsities {text} -o b.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    assert numbers(given, "4")[1] == sparsities[3] != 141
    default = firenet("design 32 -o c.npy")
    assert numbers(default, "4")[1] == 141


def test_every_option_of_the_command_reaches_the_pattern(firenet, tmp_path) -> None:
    options = "--rate .3 --wavelet db2 --calibration 12 --seed 3 --kind lines"
    said = firenet(f"design 64 {options} --lam 1e-4 --accuracy .02 -o mask.npy")
    expected = sampling_design(
        (64, 64), 0.3, wavelet="db2", kind="lines", calibration=12, seed=3
    ).mask
    assert np.array_equal(np.load(tmp_path / "mask.npy"), np.asarray(expected))
    assert numbers(said, "lam") == [1e-4, 1e-4]
    assert "0.02 ||y||" in said


def test_walsh_and_volumes_are_designed(firenet, tmp_path) -> None:
    firenet("design 64 --transform walsh --rate .2 -o walsh.npy")
    assert np.load(tmp_path / "walsh.npy")[:4, :4].all()
    firenet("design 24x32x20 --kind plane --rate .2 -o plane.npy")
    plane = np.load(tmp_path / "plane.npy")
    assert plane.shape == (24, 32, 20)
    assert (plane == plane[..., :1]).all()
    said = firenet("design 64 --wavelet db4 --rate .2 -o db4.npy")
    assert "implemented for Haar only" in said
    said = firenet("design 16 --rate 1 -o full.npy")
    assert "the property holds" in said


def test_frames_measure_other_lines_and_what_that_means_is_said(firenet, tmp_path) -> None:
    said = firenet("design 32x24 --frames 6 --kind lines --rate .25 --calibration 4 -o mask.npy")
    mask = np.load(tmp_path / "mask.npy")
    assert mask.shape == (6, 32, 24)
    assert (mask == mask[..., :1]).all()
    lines = mask[..., 0]
    counts = lines.sum(1)
    assert set(counts) == {11}
    assert "Each frame: 11 of 32 lines, an acceleration of 2.9;" in said
    assert "any 4 successive frames fill k-space" in said
    assert lines[:4].any(0).all()
    assert not lines[:3].any(0).all()
    assert "a fully sampled centre 32 wide" in said
    assert "is not proven that these samples determine the frames" in said
    few = firenet("design 32 --frames 2 --kind lines --rate .125 --calibration 6 -o few.npy")
    assert "centre 7 wide, and sensitivity maps need 12" in few


def test_spokes_of_frames_are_a_trajectory_that_is_read(firenet, tmp_path) -> None:
    said = firenet("design 32x24 --frames 5 --kind radial --rate .25 -o points.npy")
    assert "8 spokes of 64 samples; 51 would sample k-space fully" in said
    points = np.load(tmp_path / "points.npy")
    assert points.shape == (5, 1, 8, 64, 2)
    kspace = np.ones((5, 3, 8, 64), np.complex64)
    np.save(tmp_path / "scan.npy", kspace)
    scan = read(tmp_path / "scan.npy", trajectory=tmp_path / "points.npy", matrix_size=(32, 24))
    assert scan.kspace.shape == (5, 1, 3, 8, 64)
    for found, expected in zip(scan.trajectories, points[:, 0], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_same_seed_same_files(firenet, tmp_path) -> None:
    for name in ("a", "b"):
        firenet(f"design 32 --seed 5 -o {name}.npy")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("design 32 -o mask.txt", 2, "mask.txt: .* .npy"),
        ("design 32 -o nowhere/mask.npy", 1, "nowhere"),
        ("design 32 -o taken.npy", 1, "taken.npy: exists.*--overwrite"),
        ("design 32by32 -o a.npy", 2, "'32by32' given"),
        ("design 32x32x32 -o a.npy", 2, "needs 2 axes"),
        ("design 32 --rate 1.5 -o a.npy", 2, "rate is 1.5"),
        ("design 32 --lam 1 -o a.npy", 2, "lam is 1.*0 < lam <= "),
        ("design 32 --accuracy 0 -o a.npy", 2, "accuracy is 0"),
        ("design 32 --sparsities 1,2,x -o a.npy", 2, "'1,2,x' given"),
        ("design 32 --sparsities 99,1,1,1 -o a.npy", 2, "level 1 is 99"),
        ("design 32 --sparsities 1,1 --image i.npy -o a.npy", 2, "give one of them"),
        ("design 32 --image i.npy -o a.npy", 1, "i.npy: .*16, 16.*32, 32"),
        ("design 32 --image missing.npy -o a.npy", 1, "missing.npy: no such file"),
        ("design 32 --kind spiral -o a.npy", 2, "spiral"),
        ("design 32 --transform cosine -o a.npy", 2, "cosine"),
        ("design 48 --transform walsh -o a.npy", 2, "powers of two"),
        ("design 32 --wavelet bior2.2 -o a.npy", 2, "bior2.2"),
        ("design 32 --frames 4 -o a.npy", 2, "--frames measure lines or spokes"),
        ("design 32 --frames 1 --kind lines -o a.npy", 2, "give a number from 2 to 10000"),
        ("design 32 --frames 9e9 --kind lines -o a.npy", 2, "frames is '9e9'"),
        ("design 32 --frames 90000000000 --kind lines -o a.npy", 2, "number from 2 to 10000"),
        ("design 32 --frames 4 --kind lines --rate 1e-9 -o a.npy", 2, r"from 0\.0312 to 1"),
        ("design 32 --frames 4 --kind radial --rate 1e-320 -o a.npy", 2, r"from 0\.0312 to 1"),
        ("design 32 --frames 4 --kind lines --calibration 99 -o a.npy", 2, "lines .*give 0 to 32"),
        ("design 1000000000 -o a.npy", 2, "Size 1000000000 given; give sizes of 2 to 8192"),
        ("design 32 --rate 1e-9 -o a.npy", 2, r"rate is 1e-09, .*at least 0\.000977"),
        ("design 32 --accuracy 1e300 -o a.npy", 2, "accuracy is 1e.300; give a number from 1e-15"),
        ("design 32 --kind radial -o a.npy", 2, "radial is for frames"),
        (
            "design 32 --frames 4 --kind lines --seed 2 -o a.npy",
            2,
            "--frames was given with --seed",
        ),
        ("design 32 --frames 4 --kind lines --rate 0 -o a.npy", 2, r"rate of 0 .*0\.0312 to 1"),
        ("design 32 --frames 4 --kind radial --calibration 4 -o a.npy", 2, "through the centre"),
        ("design 8x8x8 --frames 4 --kind lines -o a.npy", 2, "of 3 axes"),
    ],
)
def test_bad_input_gets_one_line_and_no_file(arguments, status, said, firenet, tmp_path) -> None:
    np.save(tmp_path / "taken.npy", np.ones(3))
    np.save(tmp_path / "i.npy", np.ones((16, 16)))
    before = sorted(tmp_path.iterdir())
    error = firenet(arguments, status)
    assert error.count("\n") == 1
    assert re.search(said, error), error
    assert sorted(tmp_path.iterdir()) == before
