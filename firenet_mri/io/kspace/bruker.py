"""Bruker experiments (ParaVision 5, 6, 360): 2D and 3D Cartesian scans, and UTE; needs brukerapi.

The folder of an experiment holds ``method`` and ``acqp``, and the data as ``fid`` or, in newer
versions, ``rawdata.job0``. ``PVM_EncSteps1`` and ``PVM_EncSteps2`` give the place of each line; the
points of a UTE scan are in the file ``traj`` beside the data, x first, sample by sample. The
geometry has sizes only, without a position (``Geometry.is_placed`` is False). The file ``subject``
is never opened.

No real experiment was available: all this was checked on synthetic ones.
"""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.extras import require
from firenet_mri.geometry import AcquisitionParameters, Geometry
from firenet_mri.memory import refuse_shortage
from firenet_mri.plurals import counted

if TYPE_CHECKING:
    from firenet_mri.scan import RawScan

_DATA = ("fid", "rawdata.job0")
_POINTS = "traj"
_CARTESIAN = ("CART_2D", "CART_3D")
_OTHER_SEQUENCES = ("EPI", "UTE", "ZTE", "SPIRAL", "PRESS", "STEAM", "CSI", "NSPECT", "SINGLEPULSE")
_LARGEST_SIZE = 1 << 14


def find_experiment(path: Path) -> Path | None:
    """Return the data file of an experiment, given its folder or a file in it, else None."""
    folder = path if path.is_dir() else path.parent
    if path.is_file() and path.name not in (*_DATA, "method", "acqp"):
        return None
    if not (folder / "method").is_file() or not (folder / "acqp").is_file():
        return None
    return next((folder / name for name in _DATA if (folder / name).is_file()), None)


def read(data: Path) -> RawScan:
    """Return the scan of an experiment.

    Parameters
    ----------
    data
        Its file ``fid`` or ``rawdata.job0``.

    Returns
    -------
    RawScan
        k-space (slice, coil, y, x) or (coil, z, y, x); for UTE (slice, coil, spoke, sample), in 3D
        without the slice axis. Several repetitions are images, with a leading axis.

    Raises
    ------
    FileError
        If a file is truncated, damaged or missing.
    DataError
        If it is neither a single-echo Cartesian scan with full readouts nor UTE with its points.
    UsageError
        If the package brukerapi is not installed.
    """
    require("brukerapi")
    import torch

    from firenet_mri.scan import RawScan

    name = data.parent
    if (name / _POINTS).is_file() and _is_ute(name):
        return _read_ute(data)
    kspace, method = _decoded(data)
    is_3d = method.number("ACQ_dim") == 3
    echoes = method.number("PVM_NEchoImages", 1)
    slices = int(np.sum(method.numbers("PVM_SPackArrNSlices") or [1]))
    if echoes > 1 or (not is_3d and kspace.shape[2] != slices):
        raise DataError(
            f"{name}: {counted(kspace.shape[2], 'image')} of {counted(slices, 'slice')} "
            f"({counted(round(echoes), 'echo', 'echoes')}); only experiments with one echo can be "
            "read"
        )
    if any(factor > 1 + 1e-6 for factor in (method.numbers("PVM_EncPft") or [1])[:1]):
        raise DataError(
            f"{name}: has a partial echo; only experiments with full readouts can be read"
        )
    columns, _, third, repetitions, coils = kspace.shape
    rows = method.grid_size(1, kspace.shape[1])
    partitions = method.grid_size(2, third) if is_3d else 1
    lines = _places(method, "PVM_EncSteps1", kspace.shape[1], rows, name, is_sorted=True)
    others = _places(method, "PVM_EncSteps2", third, partitions, name) if is_3d else None
    # From (x, y, third, repetition, coil) to (repetition, third, coil, y, x).
    moved = np.transpose(kspace, (3, 2, 4, 1, 0))
    if others is None:
        full = np.zeros((repetitions, third, coils, rows, columns), np.complex64)
        full[..., lines, :] = moved
        mask = np.zeros((rows, columns), bool)
        mask[lines] = True
    else:
        full = np.zeros((repetitions, coils, partitions, rows, columns), np.complex64)
        full[:, :, others[:, None], lines] = moved.swapaxes(1, 2)
        mask = np.zeros((partitions, rows, columns), bool)
        mask[others[:, None], lines] = True
    images = tuple(f"repetition {i}" for i in range(repetitions)) if repetitions > 1 else ()
    return RawScan(
        torch.from_numpy(full if images else full[0]),
        torch.from_numpy(mask),
        3 if is_3d else 2,
        geometry=_geometry(method, 1 if is_3d else third),
        name=str(name.name),
        images=images,
        parameters=_parameters(method),
    )


def _parameters(method: _Method) -> AcquisitionParameters:
    return AcquisitionParameters(
        repetition_time_ms=method.number("PVM_RepetitionTime") or None,
        echo_times_ms=tuple(method.numbers("PVM_EchoTime")[:1]),
        flip_angle_deg=method.number("PVM_ExcPulseAngle") or None,
    )


def _is_ute(folder: Path) -> bool:
    """Return whether the pulse program of an experiment is UTE, 2D or 3D."""
    acqp = (folder / "acqp").read_bytes()
    place = acqp.find(b"##$PULPROG")
    return b"UTE" in acqp[place : place + 200].upper() if place >= 0 else False


def _read_ute(data: Path) -> RawScan:
    """Return the scan of a UTE experiment, whose k-space points are in a separate file."""
    import torch

    from firenet_mri.io.kspace.trajectory_units import in_cycles_per_fov
    from firenet_mri.scan import RawScan

    folder = data.parent
    kspace, method = _decoded(data, has_points=True)
    samples, spokes, slices, repetitions, _ = kspace.shape
    matrix = [round(size) for size in method.numbers("PVM_Matrix")]
    ndim = round(method.number("ACQ_dim"))
    if len(matrix) != ndim or ndim not in (2, 3) or not 1 <= max(matrix) <= _LARGEST_SIZE:
        raise FileError(f"{folder}: is a {ndim}D scan with PVM_Matrix {matrix}; copy it again")
    if ndim == 3 and slices > 1:
        raise DataError(f"{folder}: has {slices} slabs of 3D encoding; export them one by one")
    points = np.fromfile(folder / _POINTS, np.dtype("<f8"))
    if points.size != spokes * samples * ndim or not np.isfinite(points).all():
        raise FileError(
            f"{folder}: {_POINTS} has {counted(points.size, 'number')}, but "
            f"{counted(spokes, 'spoke')} of {counted(samples, 'sample')} in {ndim}D need "
            f"{spokes * samples * ndim} finite ones; copy the experiment again"
        )
    shape = tuple(matrix[::-1])
    in_order = points.reshape(spokes, samples, ndim)[..., ::-1]
    trajectory = in_cycles_per_fov(in_order, shape, f"{folder.name}/{_POINTS}")
    # From (sample, spoke, slice, repetition, coil) to (repetition, slice, coil, spoke, sample).
    full = np.ascontiguousarray(kspace.transpose(3, 2, 4, 1, 0))
    full = full[:, 0] if ndim == 3 else full
    images = tuple(f"repetition {i}" for i in range(repetitions)) if repetitions > 1 else ()
    return RawScan(
        torch.from_numpy(full if images else full[0]),
        torch.ones((1, spokes, samples), dtype=torch.bool),
        ndim,
        geometry=_geometry(method, slices),
        name=folder.name,
        images=images,
        trajectory=torch.from_numpy(np.ascontiguousarray(trajectory)),
        image_shape=shape,
        parameters=_parameters(method),
    )


class _Method:
    """Numbers of ``method`` and ``acqp``."""

    def __init__(self, *files: Any) -> None:
        self._files = files

    def numbers(self, name: str) -> list[float]:
        """Return a parameter's numbers; none if it is missing or is not numeric."""
        for file in self._files:
            try:
                values = np.atleast_1d(np.asarray(file[name].value, dtype=float))
            # Values are parsed on access, and damaged ones raise exceptions of many kinds.
            except Exception:
                continue
            return [float(value) for value in values.ravel() if np.isfinite(value)]
        return []

    def word(self, name: str) -> str:
        """Return a parameter's text; "" if it is missing."""
        for file in self._files:
            with contextlib.suppress(Exception):
                return str(file[name].value)[:64]
        return ""

    def number(self, name: str, default: float = 0.0) -> float:
        """Return a parameter's first number."""
        return next(iter(self.numbers(name)), default)

    def grid_size(self, axis: int, measured: int) -> int:
        """Return the size of the grid along an axis, oversampling included."""
        matrix, factors = self.numbers("PVM_Matrix"), self.numbers("PVM_AntiAlias")
        factor = factors[axis] if axis < len(factors) else 1.0
        size = round(matrix[axis] * factor) if axis < len(matrix) else measured
        return max(min(size, _LARGEST_SIZE), measured)


def _decoded(data: Path, *, has_points: bool = False) -> tuple[NDArray[np.complex64], _Method]:
    """Return (x, y, slice or z, repetition, coil) in the order of the lines, and the parameters.

    Along a trajectory (``has_points``), x is the sample axis and y the spoke axis.
    """
    from brukerapi.dataset import Dataset
    from brukerapi.exceptions import UnknownAcqSchemeException
    from brukerapi.jcampdx import JCAMPDX

    folder = data.parent
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method = _Method(JCAMPDX(folder / "method"), JCAMPDX(folder / "acqp"))
            if not has_points:
                _check_sequence(folder, method.word("PULPROG"))
            _check_size(method, data)
            dataset = Dataset(data)
            scheme = getattr(dataset, "scheme_id", None)
            if data.name == "fid" and scheme not in (("RADIAL",) if has_points else _CARTESIAN):
                raise UnknownAcqSchemeException(str(scheme))
            kspace = _spokes(dataset, method) if has_points else dataset._schema.to_kspace()
            kspace = np.asarray(kspace)
    except UnknownAcqSchemeException:
        raise DataError(
            f"{folder}: the sequence is not known to be Cartesian; only 2D and 3D Cartesian "
            "experiments, and UTE with its traj, can be read"
        ) from None
    except (DataError, FileError):
        raise
    # brukerapi evaluates rules on the files' content, so damaged ones raise exceptions of many
    # kinds.
    except Exception as error:
        refuse_shortage(folder, error)
        raise FileError(
            f"{folder}: the Bruker experiment is truncated, damaged or of an unknown kind "
            f"({type(error).__name__}); copy it again"
        ) from None
    if kspace.ndim != 5 or min(kspace.shape) < 1 or not np.isfinite(kspace).all():
        raise DataError(
            f"{folder}: k-space has shape {kspace.shape}; finite numbers (x, y, slice, repetition, "
            "coil) are needed"
        )
    return kspace.astype(np.complex64), method


def _spokes(dataset: Any, method: _Method) -> NDArray[np.generic]:
    """Return (sample, spoke, slice, repetition, coil) from interleaved slices, repetitions last."""
    raw = np.asarray(dataset._schema.raw())
    samples, shots, coils = raw.shape
    slices, repetitions = int(method.number("NI", 1)), int(method.number("NR", 1))
    spokes = shots // max(1, slices * repetitions)
    ordered = raw.reshape(samples, repetitions, spokes, slices, coils)
    order = [round(number) for number in method.numbers("ACQ_obj_order")]
    if sorted(order) == list(range(slices)):
        ordered = ordered[:, :, :, np.argsort(order)]
    return ordered.transpose(0, 2, 3, 1, 4)


def _check_sequence(folder: Path, sequence: str) -> None:
    """Refuse a sequence whose name is not that of a Cartesian one."""
    found = next((name for name in _OTHER_SEQUENCES if name in sequence.upper()), None)
    if found is not None:
        raise DataError(
            f"{folder}: the sequence {sequence} ({found}) is not known to be Cartesian; only 2D "
            "and 3D Cartesian experiments, and UTE with the file traj next to its data, can be read"
        )


def _check_size(method: _Method, data: Path) -> None:
    """Refuse headers that require far more data than the file has, before memory is allocated."""
    sizes = [method.number(name, 1) for name in ("NI", "NR", "PVM_EncNReceivers")]
    sizes += (method.numbers("PVM_EncMatrix") or [1])[:3] + method.numbers("ACQ_size")[:3]
    wanted, stored = max(map(abs, sizes)), data.stat().st_size
    if wanted > stored or np.prod(np.maximum(sizes[:6], 1)) * 4 > max(8 * stored, 1 << 20):
        raise FileError(
            f"{data.parent}: the headers require more than the {stored} bytes of {data.name}, "
            "which is truncated or damaged; copy it again"
        )


def _places(
    method: _Method, name: str, count: int, size: int, folder: Path, *, is_sorted: bool = False
) -> NDArray[np.int64]:
    """Return the grid index of each measured line; the steps count from -N/2."""
    steps = method.numbers(name)
    if not steps:
        return np.arange(count) + size // 2 - count // 2
    places = np.rint(np.array(sorted(steps) if is_sorted else steps)).astype(np.int64) + size // 2
    if len(places) != count or places.min() < 0 or places.max() >= size or len(set(places)) < count:
        raise DataError(
            f"{folder}: {name} has {counted(len(places), 'step')} from {min(steps):g} to "
            f"{max(steps):g} for {counted(count, 'line')} of a grid of {size}; the file method is "
            "damaged, so copy it again"
        )
    return places


def _geometry(method: _Method, slices: int) -> Geometry | None:
    """Return sizes in mm; the position of the animal is not given."""
    fov, factors = method.numbers("PVM_Fov"), method.numbers("PVM_AntiAlias")
    wide = [
        extent * (factors[axis] if axis < len(factors) else 1.0) for axis, extent in enumerate(fov)
    ]
    thickness = wide[2] if len(wide) > 2 else method.number("PVM_SliceThick")
    if len(wide) < 2 or min(*wide[:2], thickness) <= 0:
        return None
    step = method.number("PVM_SPackArrSliceDistance") or thickness
    positions = tuple((0.0, 0.0, step * (i - slices // 2)) for i in range(slices))
    return Geometry((thickness, wide[1], wide[0]), positions, is_placed=False)
