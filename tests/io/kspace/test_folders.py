"""Folders of scans: what counts as the bytes of one, and what is found beside it."""

from __future__ import annotations

import pytest
import torch

from firenet_mri import RawScan
from firenet_mri.errors import FileError
from firenet_mri.io import write_scan
from firenet_mri.io.kspace.folders import digests_of_scan, find_scans, with_files_beside
from firenet_mri.io.kspace.options import ReadOptions


@pytest.mark.parametrize("suffix", [".cfl", ".npy"])
def test_noise_beside_an_array_is_read_with_it_and_found_as_no_scan(suffix, tmp_path) -> None:
    noise = torch.randn(2, 9, dtype=torch.complex64)
    kspace = torch.randn(2, 6, 4, dtype=torch.complex64)
    scan = RawScan(kspace, torch.ones(1, 6, 4, dtype=torch.bool), 2, noise)
    write_scan(tmp_path / f"a{suffix}", scan)
    (tmp_path / "b_noise.npy").write_bytes((tmp_path / f"a{suffix}").read_bytes())
    found = find_scans(tmp_path)
    assert [path.name for path in found] == [f"a{suffix}", "b_noise.npy"]
    options = [with_files_beside(path, ReadOptions(slices=(0,))) for path in found]
    assert [one.noise_file for one in options] == [tmp_path / f"a_noise{suffix}", None]
    assert [one.slices for one in options] == [(0,), (0,)]


def test_the_header_of_a_pair_and_all_files_of_an_experiment_are_bytes_of_the_scan(
    tmp_path,
) -> None:
    for name in ("a.cfl", "a.hdr", "7/method", "7/fid"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"before")
        scan = path.parent if path.parent.name == "7" else tmp_path / "a.cfl"
        if name in ("a.hdr", "7/fid"):
            before = digests_of_scan(scan)
            path.write_bytes(b"after")
            assert digests_of_scan(scan) != before
    with pytest.raises(FileError, match=r"gone.npy: cannot be read \(No such file"):
        digests_of_scan(tmp_path / "gone.npy")
