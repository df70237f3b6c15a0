"""The options of reading do in MONAI what they do on the command line."""

from __future__ import annotations

import pickle

import h5py
import nibabel
import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from firenet_command import firenet
from laws import assert_close
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    MetaTensor,
    ThreadDataLoader,
    pickle_hashing,
)
from monai.transforms import Compose, LoadImage

import firenet_mri.monai as fm
from firenet_mri import read, reconstruct
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.io import write_scan
from firenet_mri.io.kspace.bart import write_cfl
from firenet_mri.monai.scans import scan_of
from firenet_mri.operators import NonuniformFourier, Sense
from firenet_mri.operators.density import density_weights
from firenet_mri.operators.trajectories import radial
from firenet_mri.scan import Geometry, RawScan

SHAPE = (24, 20)
LAYERS = {"layers": 3, "sparsifier": "undecimated-haar"}


def turned(degrees: float) -> torch.Tensor:
    """Return spokes, turned by an angle."""
    points = torch.as_tensor(radial(30, 48, 24)) * torch.tensor([1.0, 20 / 24])
    angle = torch.tensor(np.deg2rad(degrees))
    rotation = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    return (0.98 * points.double() @ rotation.double()).clamp(-9.99, 9.99)


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> list[dict[str, str]]:
    """Return two scans along trajectories of their own, as files."""
    folder = tmp_path_factory.mktemp("radial")
    image = torch.from_numpy(sigpy.shepp_logan(SHAPE)).cfloat()
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((3, *SHAPE))).cfloat()
    np.save(folder / "maps.npy", maps.numpy())
    found = []
    for index in range(2):
        points = turned(7.0 * index)
        kspace = Sense(maps, NonuniformFourier(points, SHAPE))((1 + index) * image)
        files = {name: str(folder / f"{name}{index}.npy") for name in ("scan", "points")}
        np.save(files["scan"], kspace.numpy())
        np.save(files["points"], points.numpy())
        found.append({**files, "maps": str(folder / "maps.npy")})
    return found


def load(**options) -> fm.LoadKspaced:
    keys = {"trajectory": "points"}
    return fm.LoadKspaced("scan", option_keys=keys, matrix_size=SHAPE, **options)


@pytest.mark.parametrize("maps", ["espirit", "file"])
def test_a_trajectory_gives_the_image_of_firenet_recon(maps, items, tmp_path) -> None:
    item, output = items[1], tmp_path / "image.nii.gz"
    size = "x".join(map(str, SHAPE))
    command = ["--trajectory", item["points"], "--matrix-size", size, "--layers", 3, "--complex"]
    extra = ["--maps-file", item["maps"]] if maps == "file" else []
    done = firenet(
        "recon",
        item["scan"],
        "-o",
        output,
        *command,
        "--sparsifier",
        "undecimated-haar",
        "--no-gap",
        *extra,
    )
    assert done.status == 0, done.err
    expected = torch.from_numpy(np.asarray(nibabel.load(output).dataobj))
    options = {"maps_file": item["maps"]} if maps == "file" else {}
    key = "sens_maps" if maps == "file" else None
    data = load(**options)(item)
    image = fm.FIRENETReconstructd("scan", sens_key=key, output="complex", **LAYERS)(data)["scan"]
    assert_close(image.as_tensor()[0], expected, 1e-5)
    model = fm.FIRENETModel(output="complex", **LAYERS)
    found = model(data["scan"][None], data["mask"][None], sens_maps=data.get("sens_maps"))
    assert_close(found.as_tensor()[0].T, expected[..., 0], 1e-5)


def test_a_batch_of_trajectories_has_the_images_of_its_items(items) -> None:
    (batch,) = DataLoader(Dataset(items, load()), batch_size=2)
    model = fm.FIRENETModel(maps="lowres", output="magnitude", **LAYERS)
    together = model(batch["scan"])
    assert together.shape == (2, *SHAPE)
    data = [load()(item)["scan"] for item in items]
    assert_close(together.as_tensor(), torch.cat([model(one[None]).as_tensor() for one in data]))
    plain = [one.as_tensor()[None] for one in data]
    points = [torch.from_numpy(np.load(item["points"])) for item in items]
    alone = [model(y, trajectory=p, image_shape=SHAPE) for y, p in zip(plain, points, strict=True)]
    assert_close(together.as_tensor(), torch.cat(alone), 1e-5)
    pairs = torch.view_as_real(torch.cat(plain))
    again = model(pairs, trajectory=torch.stack(points), image_shape=list(SHAPE))
    assert_close(together.as_tensor(), again, 1e-5)


def test_weights_in_the_metadata_are_used_and_a_certificate_has_those_of_the_points(items) -> None:
    kspace = load()(items[0])["scan"]
    own = density_weights(kspace.meta["trajectory"], SHAPE)
    assert_close(kspace.meta["density_weights"], own)
    other = MetaTensor(kspace.as_tensor(), meta={**kspace.meta, "density_weights": own.sqrt()})
    transform = fm.FIRENETReconstruct(maps="lowres", **LAYERS)
    assert (transform(other) - transform(kspace)).norm() > 0.01 * transform(kspace).norm()
    certified = fm.FIRENETReconstruct(maps="lowres", certificate=True, no_gap=True, **LAYERS)
    assert_close(certified(kspace).as_tensor(), transform(kspace).as_tensor(), 1e-5)
    with pytest.raises(DataError, match=r"density_weights .* not those that follow"):
        certified(other)


def test_whitening_and_compression_keep_the_trajectory(items, tmp_path) -> None:
    noise = np.random.default_rng(0).normal(size=(3, 400)) + 0j
    np.save(tmp_path / "noise.npy", noise.astype(np.complex64))
    data = load(noise_file=tmp_path / "noise.npy")(items[0])
    scan = read(
        items[0]["scan"],
        trajectory=items[0]["points"],
        matrix_size=SHAPE,
        noise_file=tmp_path / "noise.npy",
    )
    white = fm.CompressCoils(2)(fm.WhitenCoils()(data["scan"]))
    expected = reconstruct(scan, coils=2, maps="lowres", no_gap=True, **LAYERS)
    image = fm.FIRENETReconstruct(maps="lowres", **LAYERS)(white)
    assert_close(image.as_tensor()[0, ..., 0].T, expected.image.abs(), 1e-5)
    sens = fm.EstimateSensitivity("lowres")(white)
    assert sens.shape == (2, *SHAPE)
    assert_close(fm.FIRENETReconstruct(**LAYERS)(white, sens_maps=sens), image, 1e-5)
    with pytest.raises(DataError, match="lies along a trajectory, and masks are for grids"):
        fm.FixedKspaceMask()(white)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"trajectory": turned(0)[:7]}, ShapeError, r"trajectory is for samples of shape \(7, 48"),
        ({"trajectory": turned(0)[..., 0]}, ShapeError, r"trajectory has shape \(30, 48\)"),
        ({"density_weights": torch.ones(7, 48)}, ShapeError, r"density_weights is for samples"),
        ({"image_shape": (24, 20, 8)}, ShapeError, "spatial_dims=3"),
        ({"mask": torch.zeros(1, 30, 48)}, DataError, "leaves out samples along a trajectory"),
        ({"sens_maps": torch.ones(3, 8, 8) + 0j}, ShapeError, r"3, 24, 20\) complex"),
    ],
)
def test_what_does_not_fit_a_trajectory_is_named(change, error, message, items) -> None:
    kspace = load()(items[0])["scan"][None]
    model = fm.FIRENETModel(maps="lowres", output="magnitude", layers=1)
    with pytest.raises(error, match=message):
        model(kspace, **change)


def test_what_needs_a_grid_is_refused_along_a_trajectory(items) -> None:
    kspace = load()(items[0])["scan"]
    for take in (
        lambda: fm.FIRENETModel(layers=1)(kspace[None]),
        lambda: fm.FIRENETReconstruct(output="rss", layers=1)(kspace),
    ):
        with pytest.raises(UsageError, match="output rss keeps measured samples of a grid"):
            take()
    module = fm.FIRENETModel(maps=torch.nn.Identity(), output="magnitude", layers=1)
    with pytest.raises(UsageError, match="A module for maps takes k-space on a grid"):
        module(kspace[None])
    with pytest.raises(UsageError, match="go with a trajectory, and there is none"):
        module(torch.ones(1, 1, 4, 4) + 0j, image_shape=(4, 4))


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> str:
    """Return an ISMRMRD file of two repetitions of three slices."""
    draw = torch.Generator().manual_seed(3)
    kspace = torch.randn(2, 3, 2, 12, 10, dtype=torch.complex64, generator=draw)
    names = ("repetition 0", "repetition 1")
    place = Geometry((5.0, 200.0, 240.0), tuple((0.0, 0.0, 6.0 * i) for i in range(3)))
    mask = torch.ones(1, 12, 10, dtype=torch.bool)
    scan = RawScan(kspace, mask, 2, geometry=place, images=names)
    path = tmp_path_factory.mktemp("several") / "scan.h5"
    write_scan(path, scan)
    return str(path)


CHOICES = {
    "all": {},
    "repetitions": {"repetitions": (1,)},
    "slices": {"slices": "0-1"},
    "sign": {"fft_sign": -1},
    "encoding": {"encoding": 0},
    "mask": {"mask": np.arange(10)[None] % 3 > 0},
}


@pytest.mark.parametrize("options", CHOICES.values(), ids=CHOICES)
def test_transforms_and_readers_read_what_read_reads(options, several) -> None:
    scan = read(several, **options)
    loaded = fm.LoadKspace(**options)(several)
    reader = LoadImage(reader=fm.MRDReader, image_only=True, dtype=np.complex64, **options)
    masked = fm.LoadKspaced("scan", **options)({"scan": several})
    for kspace in (loaded, reader(several), masked["scan"]):
        again = scan_of(kspace)
        assert torch.equal(kspace.as_tensor(), scan.kspace)
        assert (again.images, again.geometry) == (scan.images, scan.geometry)
        assert dict(again.record) == dict(scan.record)
    assert torch.equal(masked["mask"], scan.mask)


def test_several_images_are_channels_with_the_place_of_one(several) -> None:
    kspace = fm.LoadKspace()(several)
    image = fm.FIRENETReconstruct(maps="lowres", layers=1)(kspace)
    assert image.shape == (2, 10, 12, 3)
    scan = read(several)
    np.testing.assert_allclose(image.affine, scan.geometry.affine_ras((3, 12, 10)))
    one = fm.FIRENETReconstruct(maps="lowres", layers=1)(fm.LoadKspace(repetitions=(1,))(several))
    assert_close(image.as_tensor()[1:], one.as_tensor()[:1], 1e-6)


def test_options_are_checked_before_a_file_is_read_and_pickle_by_value() -> None:
    for make in (fm.LoadKspace, lambda **kw: fm.LoadKspaced("scan", **kw), fm.CflReader):
        with pytest.raises(UsageError, match="did you mean encoding"):
            make(encodng=1)
        with pytest.raises(UsageError, match="fft_sign is 2"):
            make(fft_sign=2)
    with pytest.raises(UsageError, match="maps_file: not possible here"):
        fm.LoadKspace(maps_file="maps.npy")
    with pytest.raises(UsageError, match="Unknown option 'points'"):
        fm.LoadKspaced("scan", option_keys={"points": "points"})
    one, other = (
        fm.LoadKspace(trajectory=kind(turned(0)), noise_file="noise.npy")
        for kind in (torch.Tensor.numpy, torch.Tensor.clone)
    )
    assert pickle_hashing(one) == pickle_hashing(other)
    again = pickle.loads(pickle.dumps(one)).options
    assert again.noise_file == one.options.noise_file
    np.testing.assert_array_equal(again.trajectory, turned(0))
    moved = fm.LoadKspace(trajectory=turned(1), noise_file="noise.npy")
    assert pickle_hashing(one) != pickle_hashing(moved)


@pytest.mark.parametrize("kind", ["cache", "threads", "fork"])
def test_trajectories_and_operators_go_through_every_dataset_and_loader(kind, items) -> None:
    points, maps = turned(0), torch.from_numpy(np.load(items[0]["maps"]))
    own = Sense(maps, NonuniformFourier(points, SHAPE))
    steps = [load(), fm.FIRENETReconstructd("scan", encoding=own, **LAYERS)]
    expected = torch.stack([Compose(steps)(item)["scan"].as_tensor() for item in items])
    again = pickle.loads(pickle.dumps(Compose(steps)))
    assert_close(again(items[0])["scan"].as_tensor(), expected[0], 1e-6)
    dataset, options = Dataset(items, Compose(steps)), {}
    if kind == "cache":
        dataset = CacheDataset(items, Compose(steps), num_workers=2, progress=False)
    loader = DataLoader
    if kind == "threads":
        loader, options = ThreadDataLoader, {"num_workers": 1, "use_thread_workers": True}
    if kind == "fork":
        options = {"num_workers": 1, "multiprocessing_context": "fork"}
    (batch,) = loader(dataset, batch_size=2, **options)
    assert_close(batch["scan"].as_tensor(), expected, 1e-6)


def test_readers_bring_trajectories_through_load_image(items, tmp_path) -> None:
    data, points = np.load(items[0]["scan"]), np.load(items[0]["points"])
    write_cfl(tmp_path / "data", data[..., None])
    padded = np.zeros((*points.shape[:2], 3), np.complex64)
    padded[..., :2] = points[..., ::-1]
    write_cfl(tmp_path / "points", padded)
    options = {"trajectory": str(tmp_path / "points.cfl"), "matrix_size": SHAPE}
    reader = LoadImage(reader=fm.CflReader, image_only=True, dtype=np.complex64, **options)
    kspace = reader(tmp_path / "data.cfl")
    assert_close(scan_of(kspace).trajectory, torch.from_numpy(points), 1e-6)
    transform = fm.FIRENETReconstruct(maps="lowres", **LAYERS)
    wanted = transform(load()(items[0])["scan"])
    assert_close(transform(kspace).as_tensor(), wanted.as_tensor(), 1e-4)


def test_targets_of_fastmri_files_follow_the_slices_and_refuse_to_be_turned(tmp_path) -> None:
    with h5py.File(tmp_path / "volume.h5", "w") as file:
        file["kspace"] = np.ones((3, 2, 8, 6), np.complex64)
        file["reconstruction_rss"] = np.arange(3, dtype=np.float32)[:, None, None] * np.ones(
            (1, 6, 6)
        )
    reader = LoadImage(
        reader=fm.FastMRIKspaceReader, image_only=True, dtype=np.complex64, slices=(0, 2)
    )
    image = reader(tmp_path / "volume.h5")
    assert image.shape[0] == 2
    assert image.meta["reconstruction_rss"][:, 0, 0].tolist() == [0.0, 2.0]
    with pytest.raises(UsageError, match="turns the image about its centre"):
        fm.FastMRIKspaceReader(fft_sign=-1).get_data(tmp_path / "volume.h5")
