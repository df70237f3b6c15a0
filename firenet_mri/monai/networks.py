"""A network with certificates that replaces MONAI's and fastMRI's variational networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from torch import Tensor, nn

from firenet_mri.calibration import reference_phase
from firenet_mri.calibration.methods import Background, MapMethod
from firenet_mri.domain import check_is_kspace
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.base import Network, Weights
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.networks import load_weights
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.firenet.presets import preset_network
from firenet_mri.firenet.trainable import TrainableSteps
from firenet_mri.monai.maps import estimated_maps, given_maps, maps_along, maps_of_module
from firenet_mri.monai.masks import sampling_mask
from firenet_mri.monai.root_sum_of_squares import bound_with_samples, root_sum_of_squares
from firenet_mri.monai.scans import check_all_sampled, has_trajectory, is_of_plane
from firenet_mri.monai.tensors import native_complex, native_kspace, plain, with_metadata
from firenet_mri.monai.trajectories import Points, points_of
from firenet_mri.operators import LinearOperator, encoding_operator
from firenet_mri.operators.base import records_graph
from firenet_mri.operators.given import GivenEncoding, check_operator
from firenet_mri.options import Options, takes_options
from firenet_mri.reconstruction.given import as_operator, encode_given
from firenet_mri.reconstruction.solve import Encoded, encode, solve

# Six layers that torch 2.4.1 or 2.5.1 traces are 5 % off; with 2.13 they are the model's.
_FIRST_TRACED = (2, 13)

Output = Literal["rss", "magnitude", "complex"]
ImageAxes = Literal["xyz", "kspace"]

# Root-sum-of-squares of normalised maps of hundreds of coils, rounding included.
_NORMALISED = 1 + 1e-5


class FIRENETModel(nn.Module):
    """Reconstructs under-sampled multi-coil k-space; takes and returns what MONAI's
    ``VariationalNetworkModel`` and fastMRI's ``VarNet`` do.

    Parameters
    ----------
    spatial_dims
        2 or 3.
    maps
        Where sensitivity maps come from if ``sens_maps`` is not given: "espirit", "jsense",
        "lowres" or "none" (single coil), see :func:`firenet_mri.calibration.sensitivity_maps`, with
        "lowres" and a warning where an item's calibration region is too small; maps themselves,
        (coil, *spatial) or (batch, coil, *spatial) complex or the same with a last axis of 2; or a
        module that is called with k-space (batch, coil, *spatial, 2) and a mask (1, ..., W, 1), as
        MONAI's ``CoilSensitivityModel``.
    output
        "rss" float32: the root-sum-of-squares of the coil images, the measured samples kept as they
        are, as MONAI's and fastMRI's targets and networks have it, see
        :mod:`firenet_mri.monai.root_sum_of_squares`; it shows the noise of the samples. "magnitude"
        float32 and "complex" complex64: the network's own image, combined over the coils.
    encoding
        Your own encoding operator instead of maps and Fourier transform, from the image
        (*spatial) to the samples (coil, *samples) of an item: a
        :class:`firenet_mri.operators.LinearOperator` or a ``sigpy.linop.Linop``, see
        docs/operators.md. For the outputs "magnitude" and "complex".
    background
        Whether maps by ESPIRiT end with the object ("crop") or continue ("keep"), see
        :class:`firenet_mri.ReconstructionOptions`.
    channel_dim
        Return (batch, 1, *spatial) instead of (batch, *spatial).
    image_axes
        "kspace" (batch, *spatial), as MONAI's networks return it, or "xyz" (batch, 1, x, y, z), z
        of size 1 for ``spatial_dims=2``, or (batch, 1, x, y) of k-space that was simulated of such
        images: the axes of MONAI's images, to which the affine in the metadata belongs, for metrics
        and ``SaveImage``.
    trainable
        Make step sizes and one threshold per band parameters, which start at the network's own
        values. The Lipschitz bound stays proven, see :mod:`firenet_mri.firenet.trainable`; a maps'
        module that is trained, too, is not part of it.
    **options
        The fields of :class:`firenet_mri.firenet.options.NetworkOptions`; ``options`` holds them.
        ``weights`` is a file that ``firenet train`` wrote, "learned" or "learned-stable": a trained
        network, for 2 spatial axes, which is read once.

    Raises
    ------
    UsageError
        If an option is unknown, or the preset cannot be trained with a proven bound.
    FileError
        If the file of trained weights cannot be used.

    Notes
    -----
    Unless it is trainable or the maps are a module, it has no parameters and an empty
    ``state_dict``: there is nothing to load, and no optimiser to give it to. Trained weights are
    buffers outside the ``state_dict``, since they come with their proof. Everything is computed in
    single precision, whatever the input and ``autocast``. Items of a batch do
    not influence each other.

    The metadata of a MetaTensor stay with the image, as with MONAI's networks, but the operations
    applied to k-space do not. The affine is that of k-space: after :class:`LoadKspace` it belongs
    to an image (x, y, z), which ``image_axes="xyz"`` returns for scans of one slice and for
    volumes.

    ``torch.jit.trace`` and ``torch.export.export`` work for a fixed shape and any mask, if
    ``sens_maps`` is given or maps are a tensor, "lowres", "none", or a module that can itself be
    recorded: ESPIRiT and JSENSE are computed outside of torch. ``trace`` accepts no keyword-only
    arguments: give maps to the constructor, or wrap the model in a module with positional ones.
    MONAI's ``CoilSensitivityModel`` cannot be recorded, since it counts the mask's lines in Python:
    ``export`` refuses it, and traced, even alone, it gives NaN (MONAI 1.6). The presets "adaptive"
    and "sharp" cannot either, since the data decide on depth or weights. ``torch.jit.script`` does
    not work: the operators are Python objects. Data are not checked for NaN in a recorded model.
    ``torch.compile`` runs the model unchanged inside the code that it compiles: the images are the
    same.

    Examples
    --------
    >>> import torch
    >>> from firenet_mri.monai import FIRENETModel
    >>> model = FIRENETModel(maps="none", layers=2)
    >>> model(torch.randn(1, 1, 16, 16, 2), torch.ones(1, 1, 1, 16, 1, dtype=torch.bool)).shape
    torch.Size([1, 16, 16])
    """

    _given_maps: Tensor | None

    #: What ``**options`` are, and which of them mean nothing here.
    OPTIONS: ClassVar[type[Options]] = NetworkOptions
    REFUSED: ClassVar[tuple[str, ...]] = ()

    @takes_options(NetworkOptions)
    def __init__(
        self,
        spatial_dims: int = 2,
        *,
        maps: MapMethod | NdarrayOrTensor | nn.Module = "espirit",
        output: Output = "rss",
        background: Background = "crop",
        channel_dim: bool = False,
        image_axes: ImageAxes = "kspace",
        trainable: bool = False,
        encoding: Any = None,
        **options: Any,
    ) -> None:
        super().__init__()
        check_output(spatial_dims, output)
        self.encoding = None
        if encoding is not None:
            self.encoding = checked_operator(encoding, spatial_dims, output)
        if isinstance(maps, str) and maps not in get_args(MapMethod):
            raise UsageError(
                f"Unknown maps {maps!r}; use one of {', '.join(get_args(MapMethod))}, a tensor or "
                "a module"
            )
        if background not in get_args(Background):
            raise UsageError(f"Unknown background {background!r}; use crop or keep")
        check_image_axes(image_axes)
        self.options = NetworkOptions.from_mapping(options)
        self.spatial_dims = spatial_dims
        self.output = output
        self.background = background
        self.channel_dim = channel_dim
        self.image_axes: ImageAxes = image_axes
        self.map_method: MapMethod | None = maps if isinstance(maps, str) else None
        self.map_module = maps if isinstance(maps, nn.Module) else None
        given = None if isinstance(maps, str | nn.Module) else plain(maps, "maps")
        self.register_buffer("_given_maps", given, persistent=False)
        self.learned = learned_weights(self.options, spatial_dims)
        # Also checks what depends on the sparsifier.
        net = smallest_network(self.options, spatial_dims, self.learned)
        self._is_recordable = net.is_fixed and self.options.passes == 1
        if trainable and self.options.passes > 1:
            raise UsageError(
                f"The preset {self.options.preset} has no proven bound to train with; use the "
                "preset accurate or stable"
            )
        if trainable and net.trained is not None:
            raise UsageError(
                "trainable is for the steps of a preset, and weights of a trained network were "
                "given; their steps and thresholds stay as firenet train left them"
            )
        self.steps = TrainableSteps(net.minimiser) if trainable and net.minimiser else None

    # The network for a shape is built by NumPy and PyWavelets, on which torch.compile fails.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(
        self,
        masked_kspace: Tensor,
        mask: Tensor | None = None,
        num_low_frequencies: int | None = None,
        *,
        sens_maps: Tensor | None = None,
        x0: Tensor | None = None,
        trajectory: NdarrayOrTensor | None = None,
        density_weights: NdarrayOrTensor | None = None,
        image_shape: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the image (batch, *spatial), on the root-sum-of-squares' scale.

        Parameters
        ----------
        masked_kspace
            (batch, coil, *spatial, 2) real, or (batch, coil, *spatial) complex.
        mask
            Not zero where sampled, see :func:`firenet_mri.monai.masks.sampling_mask`; None finds it
            from the samples.
        num_low_frequencies
            Taken for fastMRI's signature; the calibration region is found from the mask.
        sens_maps
            Sensitivity maps in the layout of ``masked_kspace``.
        x0
            Image from which the network starts, such as that of a trained network in front of this
            one: (batch, *spatial) or (batch, 1, *spatial), complex, or real with a last
            axis of 2. Any other real image is a magnitude, which gets the phase of the zero-filled
            image. The Lipschitz bound then does not hold for both networks together.
        trajectory
            Points of k-space, (*samples, ndim) or (batch, *samples, ndim) in cycles per field of
            view; ``masked_kspace`` is (batch, coil, *samples) then. None takes those that
            :class:`LoadKspace` puts into its metadata, if there are any.
        density_weights
            Density weights of the samples, (*samples) or (batch, *samples); None takes those in the
            metadata, or computes them, see :func:`firenet_mri.operators.density.density_weights`.
        image_shape
            Sizes of the image along a trajectory; None takes those in the metadata, or the smallest
            even ones that the points fit into.

        Raises
        ------
        ShapeError
            If k-space, mask, maps or x0 do not have these shapes.
        DataError
            If it is an image, or samples or maps have NaN or infinite values.
        """
        _check_tracer()
        self._check_recordable()
        meta = masked_kspace.meta if isinstance(masked_kspace, MetaTensor) else {}
        kspace = self._kspace(masked_kspace, meta, trajectory)
        if self.encoding is not None:
            if sens_maps is not None or trajectory is not None:
                raise UsageError(
                    "encoding holds maps and trajectory; leave sens_maps and trajectory out"
                )
            with torch.autocast(kspace.device.type, enabled=False):
                image = self._by_operator(self.encoding, kspace, _sampled(kspace, mask, meta), x0)
            return self._shown(image, masked_kspace)
        points = points_of(kspace, meta, trajectory, density_weights, image_shape)
        if points is not None:
            check_all_sampled(mask)
            with torch.autocast(kspace.device.type, enabled=False):
                image = self._along(kspace, points, sens_maps, x0)
            return self._shown(image, masked_kspace)
        if kspace.ndim != self.spatial_dims + 2:
            raise ShapeError(
                f"masked_kspace has shape {tuple(masked_kspace.shape)}; it must be (batch, coil, "
                f"*spatial, 2) or complex (batch, coil, *spatial) with {self.spatial_dims} "
                "spatial axes"
            )
        with torch.autocast(kspace.device.type, enabled=False):
            where = None if mask is None else plain(mask, "mask")
            image = self._on_grid(kspace, masked_kspace, where, sens_maps, x0)
        return self._shown(image, masked_kspace)

    def _check_recordable(self) -> None:
        """Refuse to be traced or exported where the graph would not be the network."""
        if not records_graph():
            return
        if not self._is_recordable:
            raise UsageError(
                f"The preset {self.options.preset} cannot be traced or exported, since the data "
                "decide on its depth or weights; use the preset accurate or stable"
            )
        if self.encoding is not None:
            raise UsageError(
                "A model with its own encoding operator cannot be traced or exported; "
                "give maps instead"
            )

    def _kspace(
        self,
        masked_kspace: Tensor,
        meta: Mapping[str, Any],
        trajectory: NdarrayOrTensor | None,
    ) -> Tensor:
        """Return complex k-space as it was given, unless it is an image."""
        name = "masked_kspace"
        if self.encoding is None and trajectory is None and not has_trajectory(meta):
            return native_kspace(masked_kspace, self.spatial_dims, name, looks=False)
        kspace = native_complex(plain(masked_kspace), name)
        # Samples of another operator may look like an image.
        check_is_kspace(kspace, self.spatial_dims, name=name, metadata=meta, looks=False)
        return kspace

    def _on_grid(
        self,
        kspace: Tensor,
        masked_kspace: Tensor,
        where: Tensor | None,
        sens_maps: Tensor | None,
        x0: Tensor | None,
    ) -> Tensor:
        """Return the image of Cartesian k-space that was sampled somewhere."""
        sampled = sampling_mask(where, kspace, kspace.ndim - 2)
        # Whatever stands at places that were not sampled, be it NaN.
        kspace = torch.where(sampled, kspace, 0)
        _check_finite(kspace)
        _check_domain(kspace, masked_kspace)
        maps = self._maps(kspace, sampled, sens_maps)
        turn = self._turn(kspace, sampled, maps) if sens_maps is None else None
        image = self._reconstruct(kspace, sampled, maps, turn, x0)
        if self.output == "rss":
            image = root_sum_of_squares(image, maps, kspace, sampled)
        return image

    def _shown(self, image: Tensor, masked_kspace: Tensor) -> Tensor:
        """Return the image as requested, with the metadata of k-space."""
        if self.output == "magnitude":
            image = image.abs()
        if self.image_axes == "xyz":
            image = image.permute(0, *range(image.ndim - 1, 0, -1)).unsqueeze(1)
            if self.spatial_dims == 2 and not is_of_plane(masked_kspace):
                image = image.unsqueeze(-1)
        elif self.channel_dim:
            image = image.unsqueeze(1)
        return with_metadata(image.contiguous(), masked_kspace)

    def extra_repr(self) -> str:
        """Return the options, for printing: the main ones, and all that are not the default."""
        method: Any = self.map_method
        if self._given_maps is not None:
            method = f"tensor {tuple(self._given_maps.shape)}"
        elif self.map_module is not None:
            method = type(self.map_module).__name__
        place = {"maps": method} if self.encoding is None else {"encoding": self.encoding}
        shown = {"spatial_dims": self.spatial_dims, **place, "output": self.output}
        if self.options.weights is None:
            shown["preset"] = self.options.preset
        usual: dict[str, Any] = {"background": "crop", "channel_dim": False, "image_axes": "kspace"}
        asked = {name: getattr(self, name) for name in usual}
        for field in NetworkOptions.fields():
            usual[field.name], asked[field.name] = field.default, getattr(self.options, field.name)
        shown |= {name: value for name, value in asked.items() if value != usual[name]}
        shown |= {"trainable": True} if self.steps is not None else {}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())

    def lipschitz_bound(self) -> float | None:
        """Return a proven Lipschitz constant of Cartesian k-space -> image; None if none is proven.

        The image is that of ``output``; the samples that "rss" keeps are in the constant. It holds
        for all k-space, for fixed maps and mask and without x0, with the scale of the steps taken
        from the data (docs/theory.md, section 3.3), and for the trained steps as they are now. With
        your own operator it is None; a certificate states the bound.
        """
        if self.options.passes > 1 or self.encoding is not None:
            return None
        net = smallest_network(self.options, self.spatial_dims, self.learned)
        if self.steps is not None and net.minimiser is not None:
            net = self._with_steps(net.minimiser)
        shape = _smallest_shape(self.options, self.spatial_dims)
        maps = torch.ones(1, *shape, dtype=torch.complex64)
        bound = net.lipschitz_bound_everywhere(encoding_operator(None, maps, self.spatial_dims))
        return bound_with_samples(bound) if bound and self.output == "rss" else bound

    def _turn(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor | None:
        """Return the phase of reference, (batch, *spatial), of maps with one by convention only."""
        if self.map_method not in ("espirit", "jsense") or kspace.shape[1] == 1:
            return None
        masks = mask.expand(len(kspace), *mask.shape[1:])
        items = zip(kspace, maps, masks, strict=True)
        return torch.stack([reference_phase(*item) for item in items])

    def _reconstruct(
        self, kspace: Tensor, mask: Tensor, maps: Tensor, turn: Tensor | None, x0: Tensor | None
    ) -> Tensor:
        """Return the complex image of k-space that is zero off the mask."""
        if turn is not None:
            maps = maps * turn.unsqueeze(1)
        bound = _NORMALISED if records_graph() else None
        encoded = encode(kspace, mask, maps, self.spatial_dims, maps_bound=bound)
        encoded = replace(encoded, turn=turn)
        # A traced shape is made of tensors.
        coils, *spatial = (int(size) for size in kspace.shape[1:])
        net = self._network(coils, tuple(spatial))
        start = None
        if x0 is not None:
            zero_filled = encoded.turned(encoded.encoding.adjoint(kspace))
            start = encoded.start(start_image(x0, zero_filled))
        net = net.to(kspace.device)
        if self.options.passes > 1:
            return encoded.turned(self._in_passes(net, kspace, mask, maps, start))
        # Not net.solve(): the dual variables of the last layer cost one more A.
        x = net(kspace, encoded.encoding, start)
        return encoded.image(encoded.masked(x))

    def _by_operator(
        self, operator: LinearOperator, kspace: Tensor, mask: Tensor, x0: Tensor | None
    ) -> Tensor:
        """Return the complex images of samples (batch, coil, *samples) of the given operator."""
        kspace = torch.where(mask, kspace, 0)
        _check_finite(kspace)
        each = [GivenEncoding(operator, one) for one in mask]
        each = each if len(each) == len(kspace) else each * len(kspace)
        parts = [encode_given(y, one) for y, one in zip(kspace, each, strict=True)]
        net = self._network(kspace.shape[1], operator.domain_shape)
        return self._one_by_one(net.to(kspace.device), parts, x0)

    def _one_by_one(self, net: Network, parts: Sequence[Encoded], x0: Tensor | None) -> Tensor:
        """Return the complex images of items with operators of their own."""
        starts: Sequence[Tensor | None] = [None] * len(parts)
        if x0 is not None:
            zero_filled = [one.turned(one.encoding.adjoint(one.y)) for one in parts]
            given = start_image(x0, torch.stack(zero_filled))
            starts = [one.start(x) for one, x in zip(parts, given, strict=True)]
        passes = self.options.passes
        pairs = zip(parts, starts, strict=True)
        return torch.stack([solve(net, one, x0=x, passes=passes).image for one, x in pairs])

    def _along(
        self, kspace: Tensor, points: Points, sens_maps: NdarrayOrTensor | None, x0: Tensor | None
    ) -> Tensor:
        """Return the complex images of samples (batch, coil, *samples) along a trajectory."""
        check_output_along(self.output)
        shape = points.image_shape
        if len(shape) != self.spatial_dims:
            raise ShapeError(
                f"The image is of {len(shape)} axes, {shape}, and spatial_dims is "
                f"{self.spatial_dims}; give FIRENETModel spatial_dims={len(shape)}"
            )
        _check_finite(kspace)
        maps = self._maps_along(kspace, points, sens_maps)
        fouriers = points.transforms(len(kspace))
        parts = [
            encode(y, f, m, len(shape)) for y, f, m in zip(kspace, fouriers, maps, strict=True)
        ]
        net = self._network(kspace.shape[1], shape).to(kspace.device)
        return self._one_by_one(net, parts, x0)

    def _maps_along(
        self, kspace: Tensor, points: Points, sens_maps: NdarrayOrTensor | None
    ) -> Tensor:
        """Return the maps (batch, coil, *spatial) of samples along a trajectory."""
        shape, name = points.image_shape, "maps" if sens_maps is None else "sens_maps"
        given = self._given_maps if sens_maps is None else sens_maps
        if given is not None:
            return given_maps(given, kspace, name, shape).expand(len(kspace), -1, *shape)
        if self.map_method is None:
            raise UsageError(
                "A module for maps takes k-space on a grid, and this lies along a trajectory; give "
                "sens_maps or a method for maps"
            )
        found = []
        for index, item in enumerate(kspace.detach()):
            maps = item.new_full((len(item), *shape), len(item) ** -0.5)
            if bool(item.any()):
                scan = points.scan_of(item, index)
                maps = maps_along(scan, self.map_method, self.background)
            found.append(maps)
        return torch.stack(found)

    def _in_passes(
        self, net: Network, kspace: Tensor, mask: Tensor, maps: Tensor, start: Tensor | None
    ) -> Tensor:
        """Return the images of items one by one: each has weights of its own in the second pass."""
        images = []
        for index, item in enumerate(kspace):
            sampled, own = (part[min(index, len(part) - 1)] for part in (mask, maps))
            encoded = encode(item, sampled, own, self.spatial_dims)
            x0 = None if start is None else start[index]
            images.append(solve(net, encoded, x0=x0, passes=self.options.passes).image)
        return torch.stack(images)

    def _maps(self, kspace: Tensor, mask: Tensor, sens_maps: Tensor | None) -> Tensor:
        if sens_maps is not None:
            return given_maps(sens_maps, kspace, "sens_maps")
        if self._given_maps is not None:
            return given_maps(self._given_maps, kspace, "maps")
        if self.map_module is not None:
            return maps_of_module(self.map_module, kspace, mask)
        assert self.map_method is not None
        return estimated_maps(kspace, mask, self.map_method, self.background)

    def _network(self, coils: int, shape: tuple[int, ...]) -> Network:
        """Return the network for a number of coils and an image size."""
        if self.learned is not None:
            return self.learned.network(coils, shape, self.options)
        return self._with_steps(preset_network(coils, shape, self.options))

    def _with_steps(self, net: FIRENET) -> FIRENET:
        """Return a network with the trained steps, if there are any."""
        if self.steps is None:
            return net
        return self.steps.applied_to(net.to(self.steps.log_first_step.device))


def learned_weights(options: NetworkOptions, spatial_dims: int) -> Weights | None:
    """Return the trained weights that options name; None if they name none.

    Raises
    ------
    UsageError
        If the images are not 2D.
    FileError
        If the file cannot be used.
    """
    if options.weights is None:
        return None
    if spatial_dims != 2:
        raise UsageError(
            f"spatial_dims is {spatial_dims}, and weights are those of a network for 2D images; "
            "give it the planes of the volume as a batch"
        )
    return load_weights(options.weights)


def smallest_network(
    options: NetworkOptions, spatial_dims: int, learned: Weights | None
) -> Network:
    """Return the network of a small image; bands and steps are the same for all that allow these.

    Parameters
    ----------
    options, spatial_dims
        Of the network.
    learned
        What :func:`learned_weights` returned for these.

    Raises
    ------
    UsageError
        If an option cannot be used.
    """
    shape = _smallest_shape(options, spatial_dims)
    if learned is not None:
        return learned.network(1, shape, options)
    return preset_network(1, shape, options)


def _check_tracer() -> None:
    """Refuse a trace by a version of torch that records another network than the one that runs."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if torch._C._get_tracing_state() is not None and version < _FIRST_TRACED:
        raise UsageError(
            f"torch {torch.__version__} traces other images than the model's; use torch "
            f"{_FIRST_TRACED[0]}.{_FIRST_TRACED[1]} or newer for the export"
        )


def _smallest_shape(options: NetworkOptions, spatial_dims: int) -> tuple[int, ...]:
    """Return a shape that allows all levels."""
    return (2 ** max(6, (options.levels or 0) + 1),) * spatial_dims


def check_output(spatial_dims: int, output: str) -> None:
    """Raise UsageError unless this number of axes and this kind of image exist."""
    if spatial_dims not in (2, 3):
        raise UsageError(f"spatial_dims is {spatial_dims}; use 2 or 3")
    if output not in get_args(Output):
        raise UsageError(f"Unknown output {output!r}; use one of {', '.join(get_args(Output))}")


def check_image_axes(image_axes: str) -> None:
    """Raise UsageError unless these axes are known."""
    if image_axes not in get_args(ImageAxes):
        raise UsageError(f"Unknown image_axes {image_axes!r}; use xyz or kspace")


def checked_operator(encoding: Any, spatial_dims: int, output: str) -> LinearOperator:
    """Return a given encoding operator as one of ours, for images of so many axes.

    Raises
    ------
    UsageError
        If it is not an operator, its adjoint is wrong or its norm bound too small, or the output
        needs maps.
    ShapeError
        If its images have other axes.
    """
    operator = as_operator(encoding)
    if output == "rss":
        raise UsageError(
            "output rss is made of maps and samples of a grid, which a given encoding operator "
            "does not show; use output='magnitude' or 'complex'"
        )
    if len(operator.domain_shape) != spatial_dims:
        raise ShapeError(
            f"The encoding operator makes images of shape {operator.domain_shape}, and "
            f"spatial_dims is {spatial_dims}; these must agree"
        )
    check_operator(operator, torch.zeros(operator.codomain_shape, dtype=torch.complex64))
    return operator


def _sampled(kspace: Tensor, mask: Tensor | None, meta: Mapping[str, Any]) -> Tensor:
    """Return which samples were measured, (batch or 1, 1, *samples) bool."""
    if has_trajectory(meta):
        check_all_sampled(mask)
        return torch.ones_like(kspace[:1, :1], dtype=torch.bool)
    where = None if mask is None else plain(mask, "mask")
    return sampling_mask(where, kspace, kspace.ndim - 2)


def check_output_along(output: str) -> None:
    """Raise UsageError for an output that needs samples on a grid, along a trajectory."""
    if output == "rss":
        raise UsageError(
            "output rss keeps measured samples of a grid as they are, and these lie along a "
            "trajectory; use output='magnitude' or 'complex'"
        )


def start_image(x0: NdarrayOrTensor, zero_filled: Tensor) -> Tensor:
    """Return an image to start from as a complex one of the zero-filled image's shape.

    Parameters
    ----------
    x0
        (batch, *spatial) or (batch, 1, *spatial), complex, or real with a last axis of 2. Another
        real one is a magnitude; it gets the phase of the zero-filled image.
    zero_filled
        (batch, *spatial) complex.

    Raises
    ------
    ShapeError
        If it has another shape.
    """
    found = plain(x0, "x0").to(zero_filled.device)
    shape = tuple(zero_filled.shape)
    is_pair = not found.is_complex() and found.shape in (
        (*shape, 2),
        (shape[0], 1, *shape[1:], 2),
    )
    image = native_complex(found, "x0") if is_pair else found
    if image.ndim == len(shape) + 1 and image.shape[1] == 1:
        image = image[:, 0]
    if tuple(image.shape) != shape:
        raise ShapeError(
            f"x0 has shape {tuple(x0.shape)}; it must be {shape} or {(shape[0], 1, *shape[1:])}"
        )
    if image.is_complex():
        return image.to(zero_filled.dtype)
    return torch.polar(image.float(), zero_filled.angle())


def _check_domain(kspace: Tensor, given: Tensor) -> None:
    """Refuse an image; k-space outside the mask has been removed by now."""
    if not records_graph():
        metadata = given.meta if isinstance(given, MetaTensor) else None
        check_is_kspace(kspace, kspace.ndim - 2, name="masked_kspace", metadata=metadata)


def _check_finite(kspace: Tensor) -> None:
    """Refuse samples that are NaN or infinite: one would spread over its item's image."""
    if records_graph():
        return
    is_finite = torch.isfinite(torch.view_as_real(kspace)).flatten(1).all(1)
    if not bool(is_finite.all()):
        raise DataError(
            f"masked_kspace has NaN or infinite samples in item {int((~is_finite).nonzero()[0])}; "
            "leave them out of the mask or load the file again"
        )
