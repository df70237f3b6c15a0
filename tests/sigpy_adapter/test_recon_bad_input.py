"""What FIRENETRecon cannot use is refused in one sentence that says what to do."""

from __future__ import annotations

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch

from firenet_mri.errors import DataError, FirenetError, ShapeError, UsageError
from firenet_mri.sigpy import FIRENETRecon

SHAPE = (16, 12)
MAPS = np.ones((2, *SHAPE), dtype=np.complex64)
Y = np.ones((2, *SHAPE), dtype=np.complex64)
SPIRAL = np.ones((2, 50), dtype=np.complex64)


def with_one(array: np.ndarray, value: float) -> np.ndarray:
    """Return a copy with one entry replaced."""
    array = array.copy()
    array.flat[3] = value
    return array


def radial(scale: float = 1.0) -> np.ndarray:
    """Return 50 positions in the k-space of an image of SHAPE."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, (50, 2)) * SHAPE * scale


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"y": Y[:1]}, ShapeError, "1 coil and mps has 2"),
        ({"y": Y[:, :8]}, ShapeError, r"mps requires \(2, 16, 12\)"),
        ({"y": Y[0, 0, 0]}, UsageError, "NumPy or CuPy arrays"),
        ({"y": Y.real.astype(np.int16)}, DataError, r"y is int16.*y.astype\(np.complex64\)"),
        ({"y": Y.real.astype(bool)}, DataError, "y is bool"),
        ({"y": with_one(Y, np.nan)}, DataError, "y has NaN or infinite"),
        ({"y": with_one(Y, np.inf)}, DataError, "y has NaN or infinite"),
        ({"y": torch.from_numpy(Y)}, UsageError, r"Tensor.*y\.cpu\(\)\.numpy\(\)"),
        ({"y": torch.ones(2, *SHAPE, device="meta")}, UsageError, "Tensor"),
        ({"y": Y.tolist()}, UsageError, "y is a list"),
        ({"mps": 0 * MAPS}, DataError, "mps is zero everywhere.*cover the object"),
        ({"mps": with_one(MAPS, np.nan)}, DataError, "mps has NaN"),
        ({"mps": MAPS[0]}, ShapeError, r"mps has shape \(16, 12\).*\(coil, y, x\)"),
        ({"mps": MAPS.real.astype(int)}, DataError, "mps is int64"),
        ({"weights": -np.ones(SHAPE)}, DataError, "weights"),
        ({"weights": np.zeros(SHAPE)}, DataError, "weights"),
        ({"weights": 1j * np.ones(SHAPE)}, DataError, "weights"),
        ({"weights": with_one(np.ones(SHAPE), np.nan)}, DataError, "weights has NaN"),
        ({"weights": np.ones((3, *SHAPE))}, ShapeError, r"weights have shape \(3, 16, 12\)"),
        ({"weights": np.ones(7)}, ShapeError, "broadcast to y"),
        ({"coord": radial()}, ShapeError, r"coord requires \(2, 50\)"),
        ({"y": SPIRAL, "coord": radial()[:, :1]}, ShapeError, "axis of 2"),
        ({"y": SPIRAL, "coord": np.ones((50, 3))}, ShapeError, "axis of 2"),
        ({"y": SPIRAL, "coord": radial(2.1)}, DataError, "rescale it to cycles per field of view"),
        ({"y": SPIRAL, "coord": 1j * radial()}, ShapeError, "must be real"),
        ({"y": SPIRAL, "coord": with_one(radial(), np.nan)}, DataError, "coord has NaN"),
        ({"comm": object()}, UsageError, "comm .* omit it"),
        ({"transp_nufft": True}, UsageError, "transp_nufft"),
        ({"tseg": {"b0": None}}, UsageError, "tseg"),
        ({"solver": "ADMM", "rho": 2}, UsageError, "rho, solver"),
        ({"max_power_iter": 30}, UsageError, "max_power_iter"),
        ({"tol": 1e-3}, UsageError, "tol .* relative_gap"),
        ({"max_iter": 3, "layers": 3}, UsageError, "layers and max_iter"),
        ({"wave_name": "haar", "sparsifier": "haar"}, UsageError, "sparsifier and wave_name"),
        ({"wave_name": "no such"}, UsageError, "no such"),
        ({"wave_name": "bior4.4"}, UsageError, "bior4.4"),
        ({"preset": "best"}, UsageError, "best"),
        ({"lamda": -1.0}, UsageError, "lam"),
        ({"lamda": float("nan")}, UsageError, "lamda is nan"),
        ({"lamda": 0}, UsageError, "lamda is 0; .* positive"),
        ({"lamda": "0.1"}, UsageError, "lamda is '0.1'"),
        ({"layers": 0}, UsageError, "layers"),
        ({"coil_batch_size": 0}, UsageError, "coil_batch_size"),
        ({"x": np.zeros((4, 4))}, ShapeError, r"x has shape \(4, 4\)"),
        ({"device": 97}, UsageError, "device=-1"),
        ({"device": "tpu"}, UsageError, "device=-1"),
    ],
)
def test_bad_input_is_one_named_error_that_says_what_to_do(arguments, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        FIRENETRecon(**{"y": Y, "mps": MAPS, "show_pbar": False} | arguments)
    assert isinstance(caught.value, FirenetError)
    assert "\n" not in str(caught.value)


def test_there_is_no_certificate_before_the_run() -> None:
    app = FIRENETRecon(Y, MAPS, show_pbar=False)
    with pytest.raises(UsageError, match=r"run\(\)"):
        _ = app.certificate


def test_sigpy_itself_takes_what_is_refused_here() -> None:
    # tol and solver options are SigPy's own; that they are refused is on purpose.
    app = sigpy.mri.app.L1WaveletRecon(Y, MAPS, 1e-3, tol=1e-3, max_power_iter=5, show_pbar=False)
    assert app.run().shape == SHAPE
