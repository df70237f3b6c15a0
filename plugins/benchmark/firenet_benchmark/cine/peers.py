"""What other libraries offer over time, as their users would call it.

All minimise 1/2 ||A x - y||^2 + lam R(x) with the maps that FIRENET estimated. R of SigPy and mrpro
is the total variation over the frames, of complex differences. SigPy's is its own
``TotalVariationRecon`` with the frames as the axis: a LinearLeastSquares with FiniteDifference,
which takes PDHG. mrpro's ``TotalVariationRegularizedReconstruction`` takes scans with their
headers; its ``pdhg`` with its operators is the same without them. Both get the dual step size that
was best on seed 0; with the libraries' own they had not converged after this number of iterations.

Along spokes BART and SigPy take the trajectories with their own non-uniform transforms. mrpro has
one, too, but is compared along lines only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_benchmark.cine.kinds import Sampling
from firenet_benchmark.cine.worker import Found, run_program
from firenet_mri import RawScan
from firenet_mri.io.kspace.bart import write_cfl

ITERATIONS = 100

# The dimension of time in BART's files.
_TIME = 10

# Dual step size of both, see above.
_SIGMA = 0.1


@dataclass(frozen=True)
class Peer:
    """A method of another library.

    Parameters
    ----------
    name, needs
        Its name in the table, and the module or program that it needs.
    run
        Takes scan, maps (coil, y, x), threads and a weight.
    start
        Weight at which the search for the best begins, from seed 0.
    axes
        Of the series that it is for, see :class:`.problem.CineProblem`.
    samplings
        That it is compared with.
    """

    name: str
    needs: str
    run: Callable[[RawScan, Tensor, int, float], Found]
    start: float
    axes: tuple[str, ...] = ("phase", "contrast")
    samplings: tuple[Sampling, ...] = ("lines", "radial")

    def is_installed(self) -> bool:
        """Return whether it can be run here."""
        return shutil.which(self.needs) is not None or find_spec(self.needs) is not None


def _bart(regularisation: str, scan: RawScan, maps: Tensor, threads: int, weight: float) -> Found:
    """Return the image of ``bart pics``, whose axis of time is the eleventh."""
    kspace = scan.kspace[:, 0].numpy()
    frames, coils, *shape = kspace.shape
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # BART's axes from the last: x, y, z, coil; along spokes one, sample, spoke, coil.
        along: list[str] = []
        if scan.trajectories:
            points = torch.stack(scan.trajectories)[:, None].numpy()
            where = np.zeros((*points.shape[:-1], 3), np.complex64)
            where[..., :2] = points[..., ::-1]
            write_cfl(folder / "trajectory", where, fifth=_TIME)
            along, data = ["-t", str(folder / "trajectory")], kspace[..., None]
            if not regularisation.startswith("T"):
                # Its steps are for an encoding of norm 1 otherwise, and do not converge.
                along.append("-e")
        else:
            data = kspace.reshape(frames, coils, 1, *shape)
        write_cfl(folder / "data", data, fifth=_TIME)
        write_cfl(folder / "maps", maps.numpy()[:, None])
        files = [str(folder / part) for part in ("data", "maps", "image")]
        settings = ["-S", "-i", str(ITERATIONS), "-R", f"{regularisation}:{weight}"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        peak = run_program(["bart", "pics", *settings, *along, *files], environment)
        image = np.fromfile(folder / "image.cfl", np.complex64)
    return Found(torch.from_numpy(image.reshape(frames, *maps.shape[1:])), program_mib=peak)


def _sigpy(scan: RawScan, maps: Tensor, threads: int, weight: float) -> Found:
    import sigpy

    kspace, shape = scan.kspace[:, 0].numpy(), (len(scan.kspace), 1, *maps.shape[1:])
    encoding = _sigpy_encoding(scan, maps)
    # As data are passed to its apps for single images: the zero-filled image has maximum 1.
    scale = float(np.abs(encoding.H * kspace).max())
    solver = sigpy.app.LinearLeastSquares(
        encoding,
        kspace / scale,
        G=(difference := sigpy.linop.FiniteDifference(shape, axes=(0,))),
        proxg=sigpy.prox.L1Reg(difference.oshape, weight),
        sigma=_SIGMA,
        max_iter=ITERATIONS,
        show_pbar=False,
    )
    return Found(torch.from_numpy(solver.run()[:, 0]) * scale)


def _sigpy_encoding(scan: RawScan, maps: Tensor) -> Any:
    """Return SigPy's encoding operator, (frame, 1, y, x) to (frame, coil, ...)."""
    import sigpy

    kspace, shape = scan.kspace[:, 0], (len(scan.kspace), 1, *maps.shape[1:])
    if scan.trajectories:
        sense = sigpy.linop.Multiply((1, *shape[1:]), maps.numpy())
        frames = [sigpy.linop.NUFFT(sense.oshape, p.numpy()) * sense for p in scan.trajectories]
        return sigpy.linop.Diag(frames, iaxis=0, oaxis=0)
    sense = sigpy.linop.Multiply(shape, maps.numpy())
    fourier = sigpy.linop.FFT(kspace.shape, axes=(-2, -1))
    return sigpy.linop.Multiply(kspace.shape, scan.mask[:, 0].numpy()) * fourier * sense


def _mrpro(scan: RawScan, maps: Tensor, threads: int, weight: float) -> Found:
    from mrpro.algorithms.optimizers import pdhg
    from mrpro.operators import (
        EinsumOp,
        FastFourierOp,
        FiniteDifferenceOp,
        LinearOperatorMatrix,
        ProximableFunctionalSeparableSum,
        SensitivityOp,
    )
    from mrpro.operators.functionals import L1NormViewAsReal, L2NormSquared

    # mrpro's axes: other, coils, k2, k1, k0.
    kspace = scan.kspace[:, 0].unsqueeze(2)
    mask = scan.mask[:, 0].unsqueeze(2).to(kspace)
    sampling = EinsumOp(mask, "t c z y x, t c z y x -> t c z y x")
    fourier = FastFourierOp(dim=(-2, -1))
    encoding = sampling @ fourier @ SensitivityOp(maps[None, :, None])
    (start,) = encoding.H(kspace)
    scale = start.abs().max()
    differences = FiniteDifferenceOp(dim=(0,), mode="forward")
    (image,) = pdhg(
        f=ProximableFunctionalSeparableSum(
            0.5 * L2NormSquared(target=kspace / scale), L1NormViewAsReal(weight=weight)
        ),
        g=None,
        operator=LinearOperatorMatrix(((encoding,), (differences,))),
        initial_values=(start / scale,),
        max_iterations=ITERATIONS,
        dual_stepsize=_SIGMA,
    )
    return Found(image[:, 0, 0] * scale)


PEERS = (
    Peer("BART -R T", "bart", partial(_bart, "T:1024:0"), 2.0**-6),
    Peer("BART -R L", "bart", partial(_bart, "L:3:3"), 2.0**-8),
    Peer("BART -R F", "bart", partial(_bart, "F:1024:0"), 2.0**-8, ("phase",)),
    Peer("BART -R W, joint", "bart", partial(_bart, "W:3:1024"), 2.0**-8, ("contrast",)),
    Peer("SigPy, total variation", "sigpy", _sigpy, 2.0**-7),
    Peer("mrpro, total variation", "mrpro", _mrpro, 2.0**-7, samplings=("lines",)),
)
