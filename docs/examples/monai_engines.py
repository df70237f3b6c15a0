"""MONAI's engines with FIRENET: evaluate, save, train the steps.

    python docs/examples/monai_engines.py [-o FOLDER] [--steps N]

under-samples a few simulated scans by masks of their own, evaluates FIRENET with MONAI's
``SupervisedEvaluator`` and metrics, writes the images as NIfTI and as DICOM series, and trains the
step sizes with ``SupervisedTrainer``; the Lipschitz bound stays proven. Needs pytorch-ignite.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.engines.utils import PrepareBatchExtraInput
from monai.handlers import MeanSquaredError, PeakSignalToNoiseRatio, from_engine
from monai.transforms import Compose, LoadImaged, SaveImaged, SqueezeDimd

from firenet_mri import RawScan
from firenet_mri.io import write_nifti, write_scan
from firenet_mri.monai import ComplexNiftiWriter, DicomSeriesWriter, FIRENETModel, LoadKspaced
from firenet_mri.operators import encoding_operator
from firenet_mri.phantoms import shepp_logan
from firenet_mri.scan import Geometry

SIZE = 48
GEOMETRY = Geometry((5.0, 200.0, 200.0), ((0.0, 0.0, 0.0),))


def write_items(folder: Path, count: int) -> list[dict[str, str]]:
    """Return simulated scans with their true images, as files."""
    grid = torch.linspace(-1, 1, SIZE)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    maps = torch.stack([torch.exp(-((y - a) ** 2 + (x - b) ** 2) / 2) for a, b in corners]).cfloat()
    encoding = encoding_operator(None, maps / torch.linalg.vector_norm(maps, dim=0))
    items = []
    for index in range(count):
        image = shepp_logan(SIZE).roll(2 * index, 0).float()
        lines = torch.arange(SIZE) % 3 == index % 3
        lines[SIZE // 2 - 6 : SIZE // 2 + 6] = True
        draw = torch.manual_seed(index)
        noise = torch.randn(4, SIZE, SIZE, dtype=torch.complex64, generator=draw)
        kspace = (encoding(image.cfloat()) + 0.02 * noise) * lines
        mask = lines.expand(1, SIZE, SIZE)
        scan = RawScan(kspace, mask, 2, geometry=GEOMETRY, simulated=True)
        paths = folder / f"scan{index}.h5", folder / f"truth{index}.nii.gz"
        write_scan(paths[0], scan)
        write_nifti(paths[1], image[None], GEOMETRY)
        items.append({"image": str(paths[0]), "label": str(paths[1])})
    return items


def pipeline() -> Compose:
    """Return what loads k-space, mask and true image of an item, one slice each."""
    return Compose(
        [
            LoadKspaced("image", mask_key="mask"),
            SqueezeDimd(["image", "mask"], dim=0),
            LoadImaged("label", ensure_channel_first=True),
        ]
    )


def evaluate(model: torch.nn.Module, data: DataLoader, folder: Path) -> dict[str, float]:
    """Return the metrics of all scans; write every image as NIfTI and as a DICOM series."""
    save = {"output_dir": folder, "print_log": False, "resample": False}
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=data,
        network=model,
        # The network takes the mask as its second argument.
        prepare_batch=PrepareBatchExtraInput("mask"),
        postprocessing=Compose(
            [
                SaveImaged("pred", writer=ComplexNiftiWriter, **save),
                SaveImaged(
                    "pred",
                    writer=DicomSeriesWriter,
                    output_ext="",
                    output_postfix="dicom",
                    **save,
                ),
            ]
        ),
        key_val_metric={
            "psnr": PeakSignalToNoiseRatio(
                max_val=1.0, output_transform=from_engine(["pred", "label"])
            )
        },
        additional_metrics={
            "mse": MeanSquaredError(output_transform=from_engine(["pred", "label"]))
        },
    )
    evaluator.run()
    return {name: float(value) for name, value in evaluator.state.metrics.items()}


def train(model: FIRENETModel, data: DataLoader, steps: int) -> list[float]:
    """Train the step sizes; return the loss of every step."""
    losses: list[float] = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=steps,
        train_data_loader=data,
        network=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.05),
        loss_function=lambda pred, label: torch.nn.functional.mse_loss(pred, label),
        prepare_batch=PrepareBatchExtraInput("mask"),
    )
    from ignite.engine import Events

    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"])
    )
    trainer.run()
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=None, help="Folder for the images.")
    parser.add_argument("--steps", type=int, default=10, help="Epochs of training.")
    given = parser.parse_args()
    folder = given.output or Path(tempfile.mkdtemp())
    files = Path(tempfile.mkdtemp())
    data = DataLoader(CacheDataset(write_items(files, 4), pipeline(), progress=False), batch_size=2)
    options = {"maps": "lowres", "layers": 8, "output": "magnitude", "image_axes": "xyz"}
    model = FIRENETModel(trainable=True, **options)
    found = evaluate(model, data, folder)
    print(f"before: PSNR {found['psnr']:.2f} dB, MSE {found['mse']:.2e}")
    losses = train(model, data, given.steps)
    found = evaluate(model.eval(), data, folder)
    print(f"after:  PSNR {found['psnr']:.2f} dB, MSE {found['mse']:.2e}")
    print(f"loss {losses[0]:.2e} -> {losses[-1]:.2e}, simulated scans, evaluated on the same")
    print(f"Lipschitz bound, proven: {model.lipschitz_bound():.2f}")
    print(f"images in {folder}")


if __name__ == "__main__":
    main()
