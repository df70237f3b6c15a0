"""Jobs: where images go, what is kept, what begins anew, and what is never replaced."""

from __future__ import annotations

import html
import json
import logging
import os
import pickle
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri import read, reconstruct
from firenet_mri.batch import Job, Outcome, find_jobs, reconstruct_job, write_summary
from firenet_mri.batch import jobs as jobs_module
from firenet_mri.batch.jobs import _Asked
from firenet_mri.batch.options import JobOptions
from firenet_mri.batch.tree import image_paths
from firenet_mri.errors import FileError, UsageError
from firenet_mri.io import write_scan
from firenet_mri.io.certificates import read_certificate
from firenet_mri.io.evidence import read_evidence
from firenet_mri.operators.workers import on_all_cores
from firenet_mri.reconstruction import ReconstructionOptions
from firenet_mri.reconstruction.check import check_reconstruction

SAMPLE = Path(__file__).parents[2] / "sample_data/brain_8coil.h5"
FAST = {"layers": 2, "sparsifier": "haar", "maps": "lowres"}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "in").mkdir()
    shutil.copy(SAMPLE, tmp_path / "in" / "scan.h5")
    (job,) = find_jobs(tmp_path / "in", tmp_path / "out", FAST)
    return job


@pytest.fixture
def small_job(tmp_path: Path) -> Job:
    """A job that takes a tenth of a second."""
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((2, 3, 24, 20)).astype(np.float32)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "scan.npy", parts[0] + 1j * parts[1])
    (job,) = find_jobs(tmp_path / "in", tmp_path / "out", FAST)
    return job


def test_images_lie_as_bids_lays_out_a_study(tmp_path) -> None:
    for name in ("a/one.h5", "b/one.h5", "two.dat", "notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = find_jobs(tmp_path / "in", tmp_path / "out", {}, suffix="T2w")
    assert [str(job.image.relative_to(tmp_path / "out")) for job in found] == [
        f"sub-{label}/anat/sub-{label}_rec-firenet_T2w.nii.gz" for label in ("aone", "bone", "two")
    ]
    with pytest.raises(UsageError, match="Unknown suffix 'MRI'; use one of T1w"):
        find_jobs(tmp_path / "in", tmp_path / "out", {}, suffix="MRI")


def test_a_path_that_names_subject_and_session_keeps_them() -> None:
    paths = ["sub-01/ses-2/a.h5", "sub-01/ses-2/a.dat", "sub-01_T1w.h5", "sub-01.h5", "sub1/b.h5"]
    assert [
        path.name.removesuffix("_rec-firenet_MRI.nii.gz") for path in image_paths(map(Path, paths))
    ] == [
        "sub-01_ses-2_acq-a",
        "sub-01_ses-2_acq-ax2",
        "sub-01_acq-T1w",
        "sub-01",
        "sub-1b",
    ]
    assert image_paths([Path("sub-01/ses-2/a.h5")])[0].parent == Path("sub-01/ses-2/anat")


@given(st.lists(st.text("aB1 /_-.x2", min_size=1, max_size=6), max_size=8))
def test_names_differ_and_are_those_of_bids(names) -> None:
    found = image_paths([Path("in", name + "s.h5") for name in names], "T1w")
    assert len({str(path).lower() for path in found}) == len(found)
    pattern = r"sub-([0-9A-Za-z]+)/anat/sub-\1_rec-firenet_T1w\.nii\.gz"
    assert all(re.fullmatch(pattern, str(path)) for path in found)


def test_labels_that_look_like_numbered_ones_are_their_own_scans() -> None:
    names = ["brain-3", "brain-3x3", "brain_3", "Brain3", "brain-3x2"]
    found = image_paths([Path(f"{name}.h5") for name in names])
    labels = [path.name.split("_")[0].removeprefix("sub-") for path in found]
    assert labels == ["brain3", "brain3x3", "brain3x4", "Brain3x5", "brain3x2"]


def test_a_job_gives_the_image_of_recon_and_is_kept(job) -> None:
    outcome = reconstruct_job(job)
    assert (outcome.state, outcome.error) == ("done", "")
    expected = reconstruct(read(SAMPLE), **FAST)
    found = np.squeeze(np.asanyarray(nibabel.load(job.image).dataobj))
    assert sorted(found.ravel())[-1] == pytest.approx(float(expected.magnitude.max()), rel=1e-4)
    saved = read_certificate(job.image.with_name(job.image.name.replace(".nii.gz", ".json")))
    assert saved.certificate.relative_gap == pytest.approx([outcome.relative_gap])
    before = job.image.stat().st_mtime_ns
    again = reconstruct_job(job)
    assert again.state == "kept"
    assert again.relative_gap == outcome.relative_gap
    assert job.image.stat().st_mtime_ns == before


def test_other_options_or_a_changed_scan_or_image_are_not_kept(small_job) -> None:
    reconstruct_job(small_job)
    content = small_job.image.read_bytes()
    small_job.image.write_bytes(content[:-1])
    assert reconstruct_job(small_job).state == "done"
    assert small_job.image.read_bytes() == content
    # Another wish for the same place needs to be told so.
    other = replace(small_job, options=small_job.options.replace(layers=3))
    refused = reconstruct_job(other)
    assert refused.state == "failed"
    assert "overwrite" in refused.error
    assert reconstruct_job(replace(other, overwrite=True)).state == "done"


def test_a_job_that_was_killed_begins_anew_over_what_it_left(small_job, monkeypatch) -> None:
    class KilledError(BaseException):
        pass

    real = jobs_module._write_record

    def die_at_the_end(path, content):
        if "image" in content:
            raise KilledError
        real(path, content)

    monkeypatch.setattr(jobs_module, "_write_record", die_at_the_end)
    with pytest.raises(KilledError):
        reconstruct_job(small_job)
    assert small_job.image.exists()
    monkeypatch.setattr(jobs_module, "_write_record", real)
    assert reconstruct_job(small_job).state == "done"
    assert reconstruct_job(small_job).state == "kept"


def beside(job: Job, suffix: str) -> Path:
    return job.image.with_name(job.image.name.replace(".nii.gz", suffix))


def keys(folder: Path) -> tuple[Path, Path]:
    """Return the files of a new private key and of its public key."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / "key.pem", folder / "public.pem"
    pem = Encoding.PEM
    private.write_bytes(key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_what_a_job_writes_is_recomputed_from_the_scan(small_job) -> None:
    assert reconstruct_job(small_job).state == "done"
    saved = read_certificate(beside(small_job, ".json"))
    record = saved.report["options"]["reconstruction"]
    options = ReconstructionOptions.from_mapping(record)
    evidence = read_evidence(beside(small_job, ".evidence.h5"))
    found = check_reconstruction(saved, read(small_job.scan), evidence, options)
    assert "Recomputed and the same: duality gap." in found.agrees


def test_what_was_removed_or_changed_beside_the_image_is_made_again(small_job) -> None:
    reconstruct_job(small_job)
    evidence, certificate = beside(small_job, ".evidence.h5"), beside(small_job, ".json")
    picture = beside(small_job, ".png")
    for spoil in (
        picture.unlink,
        lambda: picture.write_bytes(b"x"),
        evidence.unlink,
        lambda: evidence.write_bytes(b"x"),
        certificate.unlink,
        lambda: certificate.write_text("{}"),
    ):
        spoil()
        assert reconstruct_job(small_job).state == "done"
        # Times and the like may differ; it is whole and belongs to the image.
        assert read_certificate(beside(small_job, ".json")).check_image() == small_job.image
        assert reconstruct_job(small_job).state == "kept"


def test_evidence_is_left_out_and_added_as_asked(small_job) -> None:
    without = replace(small_job, evidence=False)
    assert reconstruct_job(without).state == "done"
    assert not beside(small_job, ".evidence.h5").exists()
    assert reconstruct_job(without).state == "kept"
    assert reconstruct_job(small_job).state == "done"
    assert beside(small_job, ".evidence.h5").exists()
    # Evidence of an image that was replaced must not lie beside the new one.
    assert reconstruct_job(replace(without, overwrite=True)).state == "done"
    assert not beside(small_job, ".evidence.h5").exists()


def test_certificates_are_signed_with_the_key_that_was_given(small_job, tmp_path) -> None:
    private, public = keys(tmp_path)
    assert reconstruct_job(small_job).state == "done"
    signed = replace(small_job, key=private)
    assert [reconstruct_job(signed).state for _ in range(2)] == ["done", "kept"]
    read_certificate(beside(small_job, ".json")).check_signature(public)
    (tmp_path / "no_key.pem").write_text("nothing")
    with pytest.raises(FileError, match="not a private key"):
        find_jobs(small_job.scan.parent, tmp_path / "out", FAST, key=tmp_path / "no_key.pem")


def test_a_job_without_a_gap_says_so(small_job, tmp_path) -> None:
    quick = replace(small_job, options=small_job.options.replace(no_gap=True, phase_constraint=0.3))
    for state in ("done", "kept"):
        outcome = reconstruct_job(quick)
        assert (outcome.state, outcome.relative_gap, outcome.lipschitz_bound) == (state, None, None)
        table, page = write_summary(tmp_path / "out", [outcome])
        assert table.read_text().splitlines()[1].endswith(",not computed,not proven,,")
        assert "<td>not computed</td>" in page.read_text()


def test_an_image_that_no_batch_wrote_stays(small_job) -> None:
    small_job.image.parent.mkdir(parents=True)
    small_job.image.write_bytes(b"somebody's")
    outcome = reconstruct_job(small_job)
    assert outcome.state == "failed"
    assert small_job.image.read_bytes() == b"somebody's"


def test_what_is_wrong_is_an_outcome_of_one_line(job) -> None:
    job.scan.write_bytes(SAMPLE.read_bytes()[:100_000])
    outcome = reconstruct_job(job)
    assert outcome.state == "failed"
    assert "truncated or damaged" in outcome.error
    assert "\n" not in outcome.error
    job.scan.unlink()
    assert "cannot be read" in reconstruct_job(job).error


def test_a_folder_that_cannot_be_written_is_an_outcome(small_job, tmp_path) -> None:
    (tmp_path / "out").write_text("a file in the way")
    assert reconstruct_job(small_job).state == "failed"


def test_what_lies_beside_a_scan_is_read_with_it_and_is_no_scan(small_job) -> None:
    """As ``firenet convert`` writes it."""
    scan = replace(read(small_job.scan), noise=torch.randn(3, 40, dtype=torch.complex64))
    written = write_scan(small_job.scan, scan, overwrite=True)
    assert [path.name for path in written] == ["scan.npy", "scan_noise.npy"]
    (job,) = find_jobs(small_job.scan.parent, small_job.image.parents[2], FAST)
    assert job == small_job
    before = _Asked.of(job).job
    assert reconstruct_job(job).state == "done"
    image = nibabel.load(job.image).get_fdata()
    expected = reconstruct(scan, **FAST).image.abs().mT
    np.testing.assert_allclose(np.squeeze(image), expected, rtol=1e-4, atol=1e-4 * image.max())
    np.save(written[1], 2 * np.load(written[1]))
    assert _Asked.of(job).job != before


def test_experiments_of_bruker_are_jobs(tmp_path) -> None:
    for name in ("method", "acqp", "fid"):
        path = tmp_path / "in/day1/7" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0")
    (job,) = find_jobs(tmp_path / "in", tmp_path / "out", FAST)
    assert (job.scan.name, job.image.name) == ("7", "sub-day17_rec-firenet_MRI.nii.gz")
    assert reconstruct_job(job).state == "failed"


@pytest.mark.parametrize(
    ("folder", "output", "match"),
    [
        ("nowhere", "out", "is not a folder"),
        (".", "out", "is inside the folder of the scans"),
        ("empty", "out", "holds no scan"),
    ],
)
def test_folders_that_make_no_batch(tmp_path, folder, output, match) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=match):
        find_jobs(tmp_path / folder, tmp_path / output, {})


def test_the_summary_names_everything(tmp_path) -> None:
    outcomes = [
        Outcome("a.h5", "a.nii.gz", "done", 2.0, 0.01, 4.9, ("low <signal>",)),
        Outcome("b.h5", "b.nii.gz", "failed", error="b.h5: is truncated"),
    ]
    table, page = write_summary(tmp_path, outcomes)
    lines = table.read_text().splitlines()
    assert lines[1] == "a.h5,a.nii.gz,done,2.0,0.01,4.9,low <signal>,"
    assert lines[2].endswith("b.h5: is truncated")
    text = page.read_text()
    assert "1 reconstructed, 0 kept from before, 1 failed" in text
    assert "low &lt;signal&gt;" in text


def test_the_summary_shows_every_image_and_links_to_its_files(small_job, tmp_path) -> None:
    job = replace(small_job, report=True)
    for state in ("done", "kept"):
        outcome = reconstruct_job(job)
        assert outcome.state == state
        _, page = write_summary(tmp_path / "out", [outcome])
        text = page.read_text()
        assert text.count('<img src="data:image/png;base64,') == 1
        links = re.findall('href="([^"]*)"', text)
        stem = "sub-scan/anat/sub-scan_rec-firenet_MRI"
        assert links == [f"{stem}{suffix}" for suffix in (".html", ".png", ".json", ".nii.gz")]
        assert all((page.parent / link).is_file() for link in links)
        assert "script-src 'none'" in html.unescape(text)
    # A report that is gone is made again, and one that is not asked for is not.
    (tmp_path / "out" / links[0]).unlink()
    assert reconstruct_job(job).state == "done"
    assert reconstruct_job(replace(job, report=False)).state == "kept"


def test_a_failed_scan_has_neither_image_nor_links(tmp_path) -> None:
    outcome = Outcome("<b>.h5", "b.nii.gz", "failed", error="broken", folder="sub-b/anat")
    text = write_summary(tmp_path, [outcome])[1].read_text()
    assert "<img" not in text
    assert "href" not in text
    assert "&lt;b&gt;.h5" in text


def test_records_hold_digests_and_no_names(small_job) -> None:
    reconstruct_job(small_job)
    record = json.loads(small_job.record.read_text())
    asked = {"job", "wish", "source", "options", "signed_with"}
    files = {"image", "picture", "certificate", "evidence", "sensitivity", "report", "thumbnail"}
    assert set(record) == {*asked, *files, "relative_gap", "lipschitz_bound", "warnings"}
    assert JobOptions.from_mapping(record["options"]) == small_job.options
    assert str(small_job.scan.parent) not in small_job.record.read_text()


@pytest.mark.parametrize(
    "options",
    [{"reweighting": 1}, {"coils": 4}, {"compression": "geometric"}, {"fft_sign": -1}],
)
def test_every_option_that_changes_the_image_changes_the_job(job, options) -> None:
    other = replace(job, options=job.options.replace(**options))
    assert _Asked.of(other).job != _Asked.of(job).job
    # Where the work is done is no matter.
    there = replace(job, options=job.options.replace(device="cuda"))
    assert _Asked.of(there).job == _Asked.of(job).job


def test_options_of_reading_are_used_and_travel_to_workers(job) -> None:
    turned = replace(job, options=job.options.replace(fft_sign=-1))
    again = pickle.loads(pickle.dumps(turned))
    assert again.options == turned.options
    assert (again.options.read.fft_sign, again.options.reconstruction.network.layers) == (-1, 2)
    assert reconstruct_job(again).state == "done"
    expected = reconstruct(read(SAMPLE, fft_sign=-1), **FAST).magnitude
    found = np.squeeze(np.asanyarray(nibabel.load(job.image).dataobj))
    usual = reconstruct(read(SAMPLE), **FAST).magnitude
    tolerance = 1e-3 * float(expected.max())
    assert np.abs(np.sort(found.ravel()) - np.sort(expected.numpy().ravel())).max() < tolerance
    assert (expected - usual).abs().max() > 100 * tolerance
    saved = read_certificate(job.image.with_name(job.image.name.replace(".nii.gz", ".json")))
    assert saved.report["options"]["read"]["fft_sign"] == -1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mask": "mask.npy"}, "mask: not possible here"),
        ({"presett": "stable"}, "did you mean preset"),
        ({"layers": 0}, "layers is 0"),
        ({"maps": np.ones((8, 4, 4), np.complex64)}, "maps is an array"),
    ],
)
def test_options_that_no_batch_can_use_are_refused_before_the_work(
    job, tmp_path, options, match
) -> None:
    with pytest.raises(UsageError, match=match):
        find_jobs(tmp_path / "in", tmp_path / "out", options)


def test_what_is_odd_about_the_data_is_in_the_summary_and_is_remembered(small_job) -> None:
    kspace = np.load(small_job.scan)
    np.save(small_job.scan, np.ones_like(kspace))
    outcomes = [reconstruct_job(small_job), reconstruct_job(small_job)]
    assert [outcome.state for outcome in outcomes] == ["done", "kept"]
    for outcome in outcomes:
        assert outcome.warnings[0].startswith("Warning: The samples look like an image")


def test_a_changed_scan_is_done_again_and_another_scan_is_not_taken_for_it(
    small_job, tmp_path
) -> None:
    assert reconstruct_job(small_job).state == "done"
    before = nibabel.load(small_job.image).get_fdata()
    np.save(small_job.scan, 2 * np.load(small_job.scan))
    assert [reconstruct_job(small_job).state for _ in range(2)] == ["done", "kept"]
    found = nibabel.load(small_job.image).get_fdata()
    np.testing.assert_allclose(found, 2 * before, rtol=1e-3, atol=1e-3 * found.max())
    np.save(tmp_path / "other.npy", np.load(small_job.scan) + 1)
    outcome = reconstruct_job(replace(small_job, scan=tmp_path / "other.npy"))
    assert "is the image of another scan" in outcome.error
    image = small_job.image.read_bytes()
    small_job.image.unlink()
    assert "--overwrite" in reconstruct_job(replace(small_job, scan=tmp_path / "other.npy")).error
    small_job.image.write_bytes(image)
    # A scan that has changed does not excuse other options.
    np.save(small_job.scan, 2 * np.load(small_job.scan))
    other = replace(small_job, options=small_job.options.replace(layers=3))
    assert "--overwrite" in reconstruct_job(other).error


def test_warnings_stay_with_their_scan_where_a_worker_has_several_threads(
    small_job, tmp_path, monkeypatch
) -> None:
    """Each job logs its name from threads of its own while the others are at work."""
    jobs = []
    for i in range(3):
        np.save(tmp_path / "in" / f"scan{i}.npy", np.load(small_job.scan))
        jobs.append(replace(small_job, scan=tmp_path / "in" / f"scan{i}.npy"))
    together = threading.Barrier(3)
    log = logging.getLogger("firenet_mri.test")

    def logging_job(job, started):
        together.wait(10)
        on_all_cores(lambda i: log.warning("%s slice %d", job.scan.name, i), range(2))
        together.wait(10)
        return Outcome(job.scan.name, "", "done")

    monkeypatch.setattr(jobs_module, "_done", logging_job)
    before = torch.get_num_threads()
    with ThreadPoolExecutor(3, initializer=torch.set_num_threads, initargs=(2,)) as pool:
        outcomes = list(pool.map(reconstruct_job, jobs))
    torch.set_num_threads(before)
    for outcome in outcomes:
        assert sorted(outcome.warnings) == [f"{outcome.scan} slice {i}" for i in range(2)]


@pytest.fixture
def odd_folder(small_job) -> Path:
    """A folder with a scan whose name is not UTF-8, and one that lies somewhere else."""
    folder = small_job.scan.parent
    odd = folder / os.fsdecode(b"caf\xe9.npy")
    try:
        small_job.scan.rename(odd)
    except OSError:
        pytest.skip("names must be UTF-8 here")
    (folder / "away.h5").symlink_to("../annex/objects/xyz")
    return folder


def test_names_that_are_not_utf_8_and_dangling_links_fail_no_batch(odd_folder, tmp_path) -> None:
    jobs = find_jobs(odd_folder, tmp_path / "out", FAST)
    outcomes = [reconstruct_job(pickle.loads(pickle.dumps(job))) for job in jobs]
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert "is a link to a file that is not there; fetch the file (git annex" in outcomes[0].error
    assert outcomes[1].scan == "caf%E9.npy"
    odd = replace(outcomes[1], error=os.fsdecode(b"caf\xe9"), warnings=(os.fsdecode(b"\xff"),))
    table, page = write_summary(tmp_path / "out", [*outcomes, odd])
    assert "caf%E9.npy" in table.read_text(encoding="utf-8")
    assert "%FF" in page.read_text(encoding="utf-8")


def test_a_noise_measurement_that_is_a_dangling_link_is_not_left_out(small_job) -> None:
    small_job.scan.with_name("scan_noise.npy").symlink_to("nowhere")
    outcome = reconstruct_job(small_job)
    assert "scan_noise.npy: is a link to a file that is not there" in outcome.error
    # Nor is what lies beside a scan that is away taken for one.
    small_job.scan.with_name("scan_noise.npy").unlink()
    small_job.scan.rename(small_job.scan.with_name("away_noise.npy"))
    small_job.scan.with_name("away.npy").symlink_to("nowhere")
    found = find_jobs(small_job.scan.parent, small_job.image.parents[2], FAST)
    assert [job.scan.name for job in found] == ["away.npy"]
