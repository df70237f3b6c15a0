"""FIRENET as a SigPy app that replaces ``sigpy.mri.app.L1WaveletRecon``.

L1WaveletRecon solves the LASSO, FIRENET the square-root LASSO:

    min 1/2 ||A x - y||^2 + mu ||W x||_1        and        min ||A x - y|| + lam ||W x||_1.

Both have the same solution for mu = lam ||A x - y||, as their optimality conditions show: lam has
no scale and need not follow the noise level, but mu has to.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import sigpy
import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.base import Network
from firenet_mri.firenet.certificate import Certificate
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.firenet.learned.formats import FRAME, format_of
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.networks import network_of
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.reweighting import reweighted
from firenet_mri.firenet.solver import Progress
from firenet_mri.linops.arrays import as_array, as_tensor
from firenet_mri.options import Options, takes_options
from firenet_mri.reconstruction.certify import Certified, certify_solution
from firenet_mri.reconstruction.check import Checked, Work
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.solve import Encoded, Solution
from firenet_mri.sigpy.encoding import make_scan, torch_device
from firenet_mri.sigpy.saving import Origin, check, save

# SigPy's names for options of the network.
_SIGPYS = {"sparsifier": "wave_name", "layers": "max_iter"}


class FIRENETAlg(sigpy.alg.Alg):  # type: ignore[misc]
    """The network as a SigPy algorithm: one update is one layer.

    With the adaptive preset an update runs until the next check of the gap, every few layers, and
    ``done()`` is true when the gap is reached. The preset "sharp" has the layers of both passes.

    Attributes
    ----------
    x
        The image after the last update, None before the first.
    net
        The network of the pass to which the last update belongs.
    """

    def __init__(self, net: Network, scan: Encoded, x0: Tensor | None, passes: int = 1) -> None:
        self.x: Tensor | None = None
        self.net = net
        self.converged = False
        self._first, self._scan = net, scan
        self._latest: Progress | None = None
        self._looks = net.progress_iterates(scan.y, scan.encoding, x0)
        super().__init__(passes * net.updates)

    def state(self) -> State:
        """Return image and dual variables of the last layer, for certificates; after an update."""
        assert self._latest is not None
        return self._latest.state()

    def _update(self) -> None:
        with torch.no_grad():
            if self.x is not None and self.iter % self._first.updates == 0:
                self._begin_pass(self.x)
            self._latest = next(self._looks)
        self.x, self.converged = self._latest.x, self._latest.converged

    def _begin_pass(self, x: Tensor) -> None:
        y, encoding = self._scan.y, self._scan.encoding
        self.net = reweighted(self._first, x, y, encoding)
        self._looks = self.net.progress_iterates(y, encoding, x)

    def _done(self) -> bool:
        return self.converged or self.iter >= self.max_iter


class FIRENETRecon(sigpy.app.App):  # type: ignore[misc]
    """FIRENET reconstruction with the arguments of ``sigpy.mri.app.L1WaveletRecon``.

    Minimises ||A x - y|| + lamda ||W x||_{1,w} with A = sqrt(weights) F S, by a network without
    training, or runs a trained network, which minimises nothing. ``.certificate`` then states what
    is proven about the image.

    Parameters
    ----------
    y
        k-space, (coil, *spatial), zero where not sampled; with ``coord`` (coil, *samples).
    mps
        Sensitivity maps, (coil, *spatial), 2 or 3 spatial axes, best with root-sum-of-squares 1.
    lamda
        Weight of the sparsity. It has no scale and is not SigPy's ``lamda``, whose equivalent value
        is :attr:`sigpy_lamda`. "auto" sets it by the number of coils and pixels.
    weights
        Real and at least 0, broadcast against y; None estimates 1 where there are samples.
    coord
        Trajectory (*samples, ndim) in cycles per field of view; None is Cartesian. The transform is
        accurate to 1e-6, unlike SigPy's.
    wave_name
        Orthogonal wavelet of PyWavelets; None is the preset's sparsifier.
    device
        -1 or ``sigpy.cpu_device``, or the number of a GPU (with CuPy).
    coil_batch_size
        Number of coils that are processed at once, to save memory; the image is the same.
    comm, transp_nufft
        Not available: None and False.
    show_pbar, leave_pbar
        Show a progress bar, and keep it after the end.
    x
        Start image, (*spatial); None is zero.
    max_iter
        Alias of ``layers``.
    tol
        Not available; 0. The adaptive preset stops by ``relative_gap``.
    network
        A file that ``firenet train`` wrote, "learned" or "learned-stable": a trained network
        instead of a preset, for 2 spatial axes; None uses a preset. Elsewhere this option is called
        ``weights``.
    no_gap
        Omit from the certificate how near the image is to the optimum; the certificate states this.
    save_objective_values
        Keep the objective, ||A x - y|| + lamda ||W x||_{1,w}, in ``objective_values``.
    **options
        The fields of :class:`firenet_mri.firenet.options.NetworkOptions`, except ``lam`` and
        ``weights``, which are called ``lamda`` and ``network`` here. Options of SigPy's own solvers
        are refused by name.

    Attributes
    ----------
    alg
        The network; ``update()`` is one layer.
    options
        The options of the network, with ``lam`` in its own scale.
    lamda
        The weight as a number; None with a trained network that minimises nothing.
    objective_values
        The objective before the first layer and after each layer, if requested.

    Raises
    ------
    UsageError, DataError, ShapeError
        If an argument cannot be used; the message says what to do.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.ones((1, 16, 16), dtype=np.complex64)
    >>> kspace = np.zeros((1, 16, 16), dtype=np.complex64)
    >>> kspace[0, 4:12, 4:12] = 1
    >>> app = FIRENETRecon(kspace, maps, show_pbar=False)
    >>> image = app.run()
    >>> image.shape, image.dtype, app.certificate.relative_gap[0] < 0.1
    ((16, 16), dtype('complex64'), True)
    """

    #: The class of ``**options``, and its fields that have no meaning here.
    OPTIONS: ClassVar[type[Options]] = NetworkOptions
    REFUSED: ClassVar[tuple[str, ...]] = ("lam", "weights")

    @takes_options(NetworkOptions, without=REFUSED)
    def __init__(
        self,
        y: Any,
        mps: Any,
        lamda: float | Literal["auto"] = "auto",
        weights: Any = None,
        coord: Any = None,
        wave_name: str | None = None,
        device: Any = sigpy.cpu_device,
        coil_batch_size: int | None = None,
        comm: None = None,
        show_pbar: bool = True,
        transp_nufft: bool = False,
        *,
        x: Any = None,
        max_iter: int | None = None,
        tol: float = 0,
        network: str | Path | None = None,
        no_gap: bool = False,
        save_objective_values: bool = False,
        leave_pbar: bool = True,
        **options: Any,
    ) -> None:
        _refuse(comm, transp_nufft, tol, options)
        chosen = _network_options(options, {"sparsifier": wave_name, "layers": max_iter})
        if network is not None:
            chosen = chosen.replace(weights=network)
            if format_of(network) != FRAME:
                _refuse_beside_network(lamda, save_objective_values)
        self.device = torch_device(device)
        self._scan = make_scan(
            y, mps, weights, coord, device=self.device, coil_batch_size=coil_batch_size
        )
        gain = self._scan.chain.gain
        if lamda != "auto":
            chosen = chosen.replace(lam=_positive(lamda) * gain)
        shape = self._scan.encoding.domain_shape
        self.options = chosen
        self._net = network_of(len(mps), shape, chosen).to(self.device)
        minimiser = self._net.minimiser
        self.lamda = None if minimiser is None else minimiser.lam / gain
        self.save_objective_values = save_objective_values
        self._x0 = None if x is None else self._start(x)
        self._no_gap = no_gap
        record = {"network": chosen.key(), "no_gap": no_gap}
        self._origin = Origin(y, mps, weights, coord, x, record)
        alg = FIRENETAlg(self._net, self._scan, self._x0, chosen.passes)
        super().__init__(alg, show_pbar=show_pbar, leave_pbar=leave_pbar)
        if save_objective_values:
            self.objective_values = [self.objective()]

    @property
    def x(self) -> Any:
        """The current image, (*spatial) complex, an array on the device."""
        return as_array(self._scan.image(self._image()))

    @property
    def certificate(self) -> Certificate:
        """What is proven about the image, see :class:`firenet_mri.Certificate`; requires ``run()``.

        It is computed on first access, in one to five times the network's time, or at once with
        ``no_gap``.

        Raises
        ------
        UsageError
            If the app has not been run.
        """
        return self._certified.certificate

    @property
    def evidence(self) -> Evidence:
        """What others need to check the certificate; requires ``run()``.

        Raises
        ------
        UsageError
            If the app has not been run.
        """
        return self._certified.evidence

    @functools.cached_property
    def _certified(self) -> Certified:
        if not self.alg.done():
            raise UsageError("There is no certificate yet; call run() first")
        x = self._image()
        with torch.no_grad():
            state = self.alg.state()._replace(x=x)
        solution = Solution(
            self._scan.image(x),
            state,
            self.alg.net,
            self._scan,
            self._x0,
            passes=self.options.passes,
            first=self._net,
        )
        norms = [self._sample_norm()]
        return certify_solution(solution, sample_norms=norms, gap=not self._no_gap)

    def save(
        self, path: str | Path, *, overwrite: bool = False, key: Path | None = None
    ) -> tuple[Path, Path, Path]:
        """Write image, certificate and evidence, for others to check; return the files.

        Parameters
        ----------
        path
            ``NAME.npy``, the complex image; the others are ``NAME.json`` and ``NAME.evidence.h5``.
        overwrite
            Replace existing files.
        key
            Private Ed25519 key, a PEM file, that signs the certificate.

        Raises
        ------
        UsageError
            If the app has not been run, or the name has another suffix.
        FileError
            If a file exists or the folder cannot be written; then nothing is written.
        """
        certified = self._certified
        image = self._scan.image(self._image())
        return save(Path(path), image, certified, self._origin, overwrite=overwrite, key=key)

    def check(self, path: str | Path, *, again: bool = False) -> Checked:
        """Return what of a certificate was recomputed from this app's arrays; needs no ``run()``.

        Parameters
        ----------
        path
            The image that :meth:`save` wrote; the other files lie beside it.
        again
            Run the network once more, and compare its image. Without that, nothing shows that the
            network with these options made it.

        Raises
        ------
        DataError
            If an array, an option, the image or a number differs; the message names it.
        FileError
            If a file is missing or damaged.
        """
        norm = self._sample_norm()
        options = ReconstructionOptions(network=self.options)
        work = Work(self._net, self._scan, x0=self._x0, sample_norm=norm, options=options)
        return check(Path(path), self._origin, work, again=again)

    def _sample_norm(self) -> float:
        return float(torch.linalg.vector_norm(self._scan.samples.to(torch.complex128)))

    @property
    def sigpy_lamda(self) -> float:
        """The ``lamda`` of SigPy's LASSO for which its solution is that of this problem.

        This is lamda ||A x - y|| with the residual of the current image.
        """
        lamda = self._minimiser().lam / self._scan.chain.gain
        with torch.no_grad():
            residual = self._scan.encoding(self._image()) - self._scan.y
        return lamda * float(residual.norm())

    def objective(self) -> float:
        """Return ||A x - y|| + lamda ||W x||_{1,w} of the current image."""
        with torch.no_grad():
            problem = self._minimiser().problem(self._scan.encoding)
            return float(problem.objective(self._image(), self._scan.y))

    def _minimiser(self) -> FIRENET:
        if self._net.minimiser is None:
            raise UsageError("A trained network minimises nothing: it has no lamda or objective")
        return self._net.minimiser

    def _image(self) -> Tensor:
        """Return the image in the network's scale, zero where no coil is sensitive."""
        if self.alg.x is not None:
            # The data contain nothing about these pixels; as in firenet_mri.reconstruct.
            return self._scan.masked(self.alg.x)
        if self._x0 is not None:
            return self._x0
        return torch.zeros_like(self._scan.support, dtype=self._scan.y.dtype)

    def _start(self, x: Any) -> Tensor:
        shape = self._scan.encoding.domain_shape
        if tuple(np.shape(x)) != shape:
            raise ShapeError(f"x has shape {np.shape(x)}; the maps require {shape}")
        start = as_tensor(x).to(self.device, self._scan.y.dtype)
        return start / self._scan.chain.gain

    def _summarize(self) -> None:
        if self.save_objective_values:
            self.objective_values.append(self.objective())
            if self.show_pbar:
                self.pbar.set_postfix(obj=f"{self.objective_values[-1]:.2E}")

    def _output(self) -> Any:
        return self.x


def _refuse(comm: object, transp_nufft: bool, tol: float, options: Mapping[str, object]) -> None:
    """Raise UsageError for arguments of SigPy's app that this app lacks."""
    if comm is not None:
        raise UsageError("comm is given; FIRENETRecon runs in one process, so omit it")
    if transp_nufft:
        raise UsageError("transp_nufft=True is given; omit it, as the transform is exact to 1e-6")
    if tol != 0:
        raise UsageError(
            f"tol is {tol}; a network has a fixed depth, so use preset='adaptive' with relative_gap"
        )
    unknown = set(options) - NetworkOptions.own_among(options)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise UsageError(f"FIRENETRecon does not use {names}; omit options of other solvers")


def _refuse_beside_network(lamda: float | str, save_objective_values: bool) -> None:
    """Raise UsageError for arguments that have no meaning for a network without an objective."""
    given = {"lamda": lamda != "auto", "save_objective_values": save_objective_values}
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"{name}: a trained network minimises nothing; omit {name} or network")


def _positive(lamda: float) -> float:
    is_number = isinstance(lamda, int | float | np.number)
    if not is_number or not 0 < lamda < math.inf:
        raise UsageError(f"lamda is {lamda!r}; it must be a positive number or 'auto'")
    return float(lamda)


def _network_options(given: Mapping[str, Any], sigpys: Mapping[str, Any]) -> NetworkOptions:
    """Return the options of the network, some of which have SigPy's names."""
    if "lam" in given:
        raise UsageError("lam is called lamda here, as in SigPy's apps")
    if "weights" in given:
        raise UsageError("weights are those of the samples here; pass a trained network as network")
    chosen = dict(given)
    for name, value in sigpys.items():
        if value is not None and chosen.get(name) is not None:
            raise UsageError(f"{name} and {_SIGPYS[name]} mean the same; give one of them")
        if value is not None:
            chosen[name] = value
    return NetworkOptions.from_mapping(chosen)
