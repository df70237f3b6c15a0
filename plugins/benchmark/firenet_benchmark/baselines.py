"""Other libraries on the speed problems: each gets data, maps, a lambda and a number of iterations.

lambda is that of 1/2 ||A x - y||^2 + lambda ||W x||_1 for data whose image has the maximum 1, or in
the units of the library's own data scaling. Every run starts afresh, so that its seconds include
its set-up: norm estimates, plans, copies.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from firenet_benchmark.problems import SpeedProblem
from firenet_mri.errors import DataError

#: Image, not scaled back where the library keeps the scale, and seconds.
Run = tuple[np.ndarray, float]


@dataclass(frozen=True)
class Baseline:
    """A method of another library.

    Parameters
    ----------
    name, package
        What the table says, and what must be installed: a module or, for BART, a program.
    run
        Returns the image, (*spatial) complex, and seconds for a number of iterations.
    lambdas
        Weight by problem, tuned for the best PSNR over powers of two; other problems are not run.
    """

    name: str
    package: str
    run: Callable[[SpeedProblem, int, float, int], Run]
    lambdas: dict[str, float]

    @property
    def is_program(self) -> bool:
        """Whether it runs as a program, outside this process."""
        return self.package == "bart"

    def is_installed(self) -> bool:
        """Return whether it can be run here."""
        if self.is_program:
            return shutil.which("bart") is not None
        return find_spec(self.package) is not None

    def version(self) -> str:
        """Return the version that is installed."""
        if self.is_program:
            answer = subprocess.run(["bart", "version"], capture_output=True, text=True, check=True)
            return answer.stdout.strip()
        try:
            return version(self.package)
        except PackageNotFoundError:
            return "unknown"


def _bart(problem: SpeedProblem, iterations: int, lam: float, threads: int) -> Run:
    """Time what the program itself reports, without its start and its reading of files."""
    from firenet_mri.io.kspace.bart import write_cfl

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flat = problem.truth.ndim == 2
        data, maps = problem.kspace, problem.maps
        command = ["bart", "pics", "-S", "-d", "5", "-l1", "-r", str(lam), "-i", str(iterations)]
        if problem.trajectory is not None:
            data = data[..., None]
            trajectory = np.zeros((*problem.trajectory.shape[:2], 3), np.complex64)
            trajectory[..., :2] = problem.trajectory[..., ::-1]
            write_cfl(folder / "trajectory", trajectory)
            # The norm of the encoding is not 1 here, so it looks for it.
            command += ["-e", "-t", str(folder / "trajectory")]
        elif flat:
            data = data[:, None]
        write_cfl(folder / "data", data)
        write_cfl(folder / "maps", maps[:, None] if flat else maps)
        command += [str(folder / part) for part in ("data", "maps", "image")]
        environment = {"OMP_NUM_THREADS": str(threads), "PATH": "/usr/bin:/bin:/usr/local/bin"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        said = re.findall(r"Total Time: ([0-9.]+)", done.stdout + done.stderr)
        if done.returncode or not said:
            raise DataError(f"BART failed: {' '.join((done.stdout + done.stderr).split())[-300:]}")
        image = np.fromfile(folder / "image.cfl", np.complex64)
    return image.reshape(problem.truth.shape), float(said[-1])


def _bartorch(problem: SpeedProblem, iterations: int, lam: float, threads: int) -> Run:
    import bartorch
    from bartorch import apps, priors

    bartorch.set_num_threads(threads)
    flat = problem.truth.ndim == 2
    maps, data = torch.from_numpy(problem.maps), torch.from_numpy(problem.kspace)
    options: dict[str, Any] = {}
    if problem.trajectory is not None:
        trajectory = np.zeros((*problem.trajectory.shape[:2], 3), np.float32)
        trajectory[..., :2] = problem.trajectory[..., ::-1]
        # The norm of the encoding is not 1 here, so it looks for it.
        options = {"traj": torch.from_numpy(trajectory), "eigen_step": True}
    elif flat:
        data = data[:, None]
    maps = maps[:, None] if flat else maps
    prior = priors.Wavelet((-2, -1) if flat else (-3, -2, -1), lam)
    started = time.perf_counter()
    image = apps.pics(data, maps, regularizers=prior, maxiter=iterations, **options)
    return image.reshape(problem.truth.shape).numpy(), time.perf_counter() - started


def _sigpy(app: str) -> Callable[[SpeedProblem, int, float, int], Run]:
    def run(problem: SpeedProblem, iterations: int, lam: float, threads: int) -> Run:
        import sigpy.mri.app

        started = time.perf_counter()
        made = getattr(sigpy.mri.app, app)(
            problem.kspace,
            problem.maps,
            lam,
            coord=problem.trajectory,
            max_iter=iterations,
            show_pbar=False,
        )
        return made.run(), time.perf_counter() - started

    return run


def _mrpro(problem: SpeedProblem, iterations: int, lam: float, threads: int) -> Run:
    from mrpro.algorithms.optimizers import pgd
    from mrpro.operators import FastFourierOp, LinearOperator, SensitivityOp, WaveletOp
    from mrpro.operators.functionals import L1Norm, L2NormSquared

    class Mask(LinearOperator):  # type: ignore[misc]
        """Multiplication by the sampling mask."""

        def __init__(self, mask: torch.Tensor) -> None:
            super().__init__()
            self.mask = torch.nn.Parameter(mask, requires_grad=False)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (x * self.mask,)

        def adjoint(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (x * self.mask,)

    assert problem.mask is not None
    started = time.perf_counter()
    axes = (-2, -1)
    mask = Mask(torch.from_numpy(problem.mask)[None, None, None])
    wavelet = WaveletOp(problem.truth.shape, dim=axes, wavelet_name="db4", level=4)
    maps = SensitivityOp(torch.from_numpy(problem.maps)[None, :, None])
    encoding = mask @ FastFourierOp(dim=axes) @ maps @ wavelet.H
    data = torch.from_numpy(problem.kspace)[None, :, None]
    fidelity = 0.5 * L2NormSquared(target=data, divide_by_n=False) @ encoding
    sparsity = lam * L1Norm(divide_by_n=False)
    (start,) = encoding.H(data)
    (found,) = pgd(fidelity, sparsity, start, stepsize=1.0, max_iterations=iterations)
    (image,) = wavelet.H(found)
    return image.reshape(problem.truth.shape).numpy(), time.perf_counter() - started


def _deepinv(problem: SpeedProblem, iterations: int, lam: float, threads: int) -> Run:
    from deepinv.optim import optim_builder
    from deepinv.optim.data_fidelity import L2
    from deepinv.optim.prior import WaveletPrior
    from deepinv.physics import MultiCoilMRI

    started = time.perf_counter()
    assert problem.mask is not None
    data = torch.view_as_real(torch.from_numpy(problem.kspace)).movedim(-1, 0)[None].contiguous()
    physics = MultiCoilMRI(
        mask=torch.from_numpy(problem.mask).float()[None, None],
        coil_maps=torch.from_numpy(problem.maps)[None],
        img_size=problem.truth.shape,
    )
    solver = optim_builder(
        "FISTA",
        prior=WaveletPrior(level=4, wv="db4", mode="zero"),
        data_fidelity=L2(),
        max_iter=iterations,
        params_algo={"stepsize": 1.0, "lambda": lam, "a": 3},
        verbose=False,
        early_stop=False,
    )
    planes = solver(data, physics)[0].movedim(0, -1).contiguous()
    return torch.view_as_complex(planes).numpy(), time.perf_counter() - started


def _mirtorch(problem: SpeedProblem, iterations: int, lam: float, threads: int) -> Run:
    from mirtorch.alg import POGM
    from mirtorch.linear import Sense, Wavelet2D
    from mirtorch.prox import L1Regularizer

    started = time.perf_counter()
    data, maps = torch.from_numpy(problem.kspace), torch.from_numpy(problem.maps)
    encoding = Sense(maps, torch.from_numpy(problem.mask).float(), batchmode=False)
    wavelet = Wavelet2D(problem.truth.shape, wave_type="db4", padding="periodization", J=4)
    prox = L1Regularizer(lam, T=wavelet)

    def gradient(x: torch.Tensor) -> torch.Tensor:
        return encoding.H * (encoding * x - data)

    solver = POGM(gradient, 1.0, prox, max_iter=iterations, restart=True)
    image = solver.run(encoding.H * data)
    return image.numpy(), time.perf_counter() - started


# Tuned with tune() of firenet_benchmark.speed at 160 iterations, 100 where one is slow: with
# fewer, weights look best that are too large.
BASELINES = (
    Baseline("BART", "bart", _bart, {"A": 1e-3, "B": 2.5e-4, "C": 1e-3, "D": 2.5e-4}),
    Baseline("bartorch", "bartorch", _bartorch, {"A": 1e-3, "B": 2.5e-4, "C": 1e-3, "D": 2.5e-4}),
    Baseline(
        "SigPy L1Wavelet", "sigpy", _sigpy("L1WaveletRecon"), {"A": 1e-3, "B": 2.5e-4, "D": 0.016}
    ),
    Baseline("SigPy TV", "sigpy", _sigpy("TotalVariationRecon"), {"A": 2e-3, "B": 3e-2}),
    Baseline("mrpro PGD", "mrpro", _mrpro, {"A": 1e-3, "B": 2.5e-4}),
    Baseline("deepinv FISTA", "deepinv", _deepinv, {"A": 4e-3, "B": 1e-3}),
    Baseline("MIRTorch POGM", "mirtorch", _mirtorch, {"A": 1e-3, "B": 1.25e-4}),
)
