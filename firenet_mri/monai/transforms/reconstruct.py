"""From k-space to the image, with its certificate in the metadata if requested."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends
from torch import Tensor

from firenet_mri.calibration.sensitivity import Sensitivities
from firenet_mri.device import find_device
from firenet_mri.digests import digest_of_data, digest_of_tensor
from firenet_mri.domain import DOMAIN, IMAGE
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.io import read_certificate
from firenet_mri.io.evidence import read_evidence
from firenet_mri.monai.evidence import Carried
from firenet_mri.monai.maps import estimated_sensitivities, given_maps
from firenet_mri.monai.networks import (
    ImageAxes,
    Output,
    check_image_axes,
    check_output,
    check_output_along,
    checked_operator,
    learned_weights,
    smallest_network,
    start_image,
)
from firenet_mri.monai.root_sum_of_squares import root_sum_of_squares
from firenet_mri.monai.scans import is_of_plane, place_of, scan_of, weights_of
from firenet_mri.monai.tensors import plain
from firenet_mri.monai.transforms.configuration import Configured
from firenet_mri.operators.density import density_weights
from firenet_mri.options import Options, takes_options
from firenet_mri.plurals import counted
from firenet_mri.reconstruction import ReconstructionOptions
from firenet_mri.reconstruction.check import Checked, check_prepared
from firenet_mri.reconstruction.data_warnings import item_warnings
from firenet_mri.reconstruction.data_warnings.calibration import slices_with_other_maps
from firenet_mri.reconstruction.data_warnings.places import places_of
from firenet_mri.reconstruction.data_warnings.warning import joined
from firenet_mri.reconstruction.given import Operators, without_maps
from firenet_mri.reconstruction.prepare import Item, Prepared, prepare
from firenet_mri.reconstruction.result import image_of
from firenet_mri.reconstruction.run import check_given_scan, reconstruct_prepared
from firenet_mri.reconstruction.solve import Encoded, solve
from firenet_mri.scan import RawScan

# Largest difference of a pixel, relative to the largest one, by which two runs of the network on
# the same data may differ: rounding on other threads or devices.
_SAME_PIXELS = 1e-5
# The same of density weights.
_ROUNDING = 1e-6


class FIRENETReconstruct(Configured, Transform):
    """Reconstructs a multi-coil scan to an image, channel first.

    Parameters
    ----------
    output
        "magnitude" float32 or "complex" complex64, the network's image. Or "rss" float32, without a
        certificate: the root-sum-of-squares of the coil images with the measured samples kept as
        they are, as fastMRI's targets have it, see :mod:`firenet_mri.monai.root_sum_of_squares`.
    image_axes
        "xyz": (1, x, y, z), with the affine in RAS mm, as MONAI's readers return images; several
        images, such as repetitions, are the first axis; (1, x, y) where
        :class:`SimulateKspace` was given an image of these axes. "kspace":
        the axes of k-space without the coil, (slices, y, x) for several slices, else (1, *spatial),
        as MONAI's ``kspace_masked_ifft`` and fastMRI's targets have them; the affine belongs to
        the spatial axes in that order.
    certificate
        Put the certificate into the metadata, ``meta["certificate"]``, as JSON (for
        :meth:`firenet_mri.Certificate.from_dict`); takes about half as long again, and less with
        ``no_gap``, which the certificate then states.
    evidence
        Also put into the metadata what :class:`SaveCertificate` writes for others to check the
        certificate, ``meta["evidence"]``: up to four complex images per slice, as text. For
        ``image_axes="xyz"``.
    spatial_dims
        2 or 3, where the metadata do not say.
    encoding
        Your own encoding operator, see :func:`firenet_mri.reconstruct`; not for the output "rss".
    **options
        The fields of :class:`firenet_mri.ReconstructionOptions` except ``map_sets`` and
        ``by_readout``. ``maps`` is a method; where a slice's calibration region is too small for
        it, its maps are "lowres", with a warning. ``jacobian`` and ``recovery`` need the
        certificate. ``device`` cannot be "cuda" in forked workers: run :class:`FIRENETModel` in the
        loop instead.

    Notes
    -----
    ``meta["warnings"]`` holds the warnings about the data, one line each (docs/certificates.md). It
    is empty for most scans.

    The transform is deterministic: MONAI's datasets cache its result unless a random transform
    precedes it. It keeps nothing from call to call. Operations that were applied to k-space do not
    apply to the image: ``applied_operations`` is empty.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's convention

    #: What ``**options`` are, and which of them mean nothing here.
    OPTIONS: ClassVar[type[Options]] = ReconstructionOptions
    REFUSED: ClassVar[tuple[str, ...]] = ("map_sets", "by_readout")

    @takes_options(ReconstructionOptions, without=REFUSED)
    def __init__(
        self,
        *,
        output: Output = "magnitude",
        image_axes: ImageAxes = "xyz",
        certificate: bool = False,
        evidence: bool = False,
        spatial_dims: int = 2,
        encoding: Operators | None = None,
        **options: Any,
    ) -> None:
        check_image_axes(image_axes)
        check_output(spatial_dims, output)
        if certificate:
            _check_certifiable(output)
        chosen = ReconstructionOptions.from_mapping(options, without=self.REFUSED)
        if not isinstance(chosen.maps, str):
            raise UsageError("maps is an array here; pass it as sens_maps in the call")
        if (chosen.jacobian or chosen.recovery) and not certificate:
            raise UsageError(
                "jacobian and recovery are entries of the certificate; ask for it with "
                "certificate=True"
            )
        if evidence and not (certificate and image_axes == "xyz"):
            raise UsageError(
                "evidence is that of a certificate, for images as they are written; use it with "
                "certificate=True and image_axes='xyz'"
            )
        # Checks what depends on the sparsifier.
        smallest_network(
            chosen.network, spatial_dims, learned_weights(chosen.network, spatial_dims)
        )
        self.options = chosen
        self.output = output
        self.image_axes = image_axes
        self.certificate = certificate
        self.evidence = evidence
        self.spatial_dims = spatial_dims
        self.encoding = encoding
        if encoding is not None:
            self._check_encoding(encoding)

    def __call__(
        self,
        kspace: RawScan | NdarrayOrTensor,
        mask: NdarrayOrTensor | None = None,
        sens_maps: NdarrayOrTensor | None = None,
        x0: NdarrayOrTensor | None = None,
        *,
        encoding: Operators | None = None,
    ) -> MetaTensor:
        """Return the image, see ``output`` and ``image_axes``.

        Parameters
        ----------
        kspace
            (*slices, coil, *spatial) complex, or (..., 2) real, with the metadata of
            :class:`LoadKspace` or without; (*slices, coil, *samples) along the trajectory in its
            metadata, with the density weights there. It is whitened first if the metadata hold a
            noise measurement. Or what :func:`firenet_mri.read` returns.
        mask
            Sampling mask, see :func:`firenet_mri.monai.masks.sampling_mask`; None finds it.
        sens_maps
            Sensitivity maps (slices or 1, coil, *spatial) complex, or (..., 2) real.
        x0
            Image to start from, in the axes of k-space without the coil, see
            :class:`FIRENETModel`; not with a certificate.
        encoding
            The encoding operator of this scan, instead of the transform's.

        Raises
        ------
        ShapeError
            If the arguments do not have these shapes.
        DataError
            If k-space is an image, is zero everywhere or has NaN.
        """
        if encoding is not None:
            with_own = copy.copy(self)
            with_own.encoding = encoding
            with_own._check_encoding(encoding)
            return with_own(kspace, mask, sens_maps, x0)
        if isinstance(kspace, RawScan):
            check_given_scan(kspace, self.encoding)
        scan = kspace if isinstance(kspace, RawScan) else self._scan_of(kspace, mask)
        if scan.trajectory is not None:
            check_output_along(self.output)
        prepared = self._prepared(scan, sens_maps, self._weights(scan, kspace))
        is_as_scanned = prepared.scan.spatial_shape == scan.spatial_shape
        scan = replace(scan, image_shape=prepared.scan.image_shape)
        if not is_as_scanned:
            scan = replace(scan, geometry=None)
        meta = _image_metadata(scan, kspace if is_as_scanned else None)
        of_plane = is_of_plane(kspace)
        if not self.certificate:
            image, lines = _images(prepared, self.output, x0)
            return self._shown(image, scan, {**meta, "warnings": "\n".join(lines)}, of_plane)
        if x0 is not None:
            raise UsageError("The certificate is for a start at zero; leave x0 out")
        result = reconstruct_prepared(prepared)
        # MONAI's collate functions know strings, but not None.
        meta["certificate"] = json.dumps(result.certificate.to_dict())
        meta["warnings"] = "\n".join(result.warning_lines)
        made = self._shown(result.image, scan, meta, of_plane)
        if self.evidence:
            made.meta["evidence"] = Carried.of(result, made.as_tensor()).to_text()
        return made

    def _shown(
        self, image: Tensor, scan: RawScan, meta: dict[str, Any], of_plane: bool
    ) -> MetaTensor:
        """Return the images of a scan as requested, with their metadata."""
        if self.output == "magnitude":
            image = image.abs()
        shape = (len(scan.images) or 1, -1, *image.shape[-2:])
        if self.image_axes == "kspace":
            shape = (-1, *scan.spatial_shape)
        return self._metatensor(image.reshape(shape), scan.spatial_ndim, meta, of_plane=of_plane)

    def check(
        self,
        certificate: str | Path,
        kspace: RawScan | NdarrayOrTensor,
        mask: NdarrayOrTensor | None = None,
        sens_maps: NdarrayOrTensor | None = None,
        *,
        again: bool = False,
    ) -> Checked:
        """Return what was recomputed of a certificate from k-space, which need not be a file's.

        Parameters
        ----------
        certificate
            ``NAME.json``, as :class:`SaveCertificate` wrote it; image and evidence lie beside it.
        kspace, mask, sens_maps
            As they were passed for the image.
        again
            Run the network once more, and compare its image.

        Raises
        ------
        DataError
            If k-space, maps, options, image or a number differs; the message names it.
        FileError
            If a file is missing or damaged.
        """
        saved = read_certificate(Path(certificate))
        scan = kspace if isinstance(kspace, RawScan) else self._scan_of(kspace, mask)
        saved.check_scan(scan)
        prepared = self._prepared(scan, sens_maps, self._weights(scan, kspace))
        if digest_of_data(prepared.record) != saved.digests.parameters:
            raise DataError(f"{certificate}: was made with other options or maps")
        evidence = read_evidence(saved.evidence_beside())
        return check_prepared(saved, prepared, evidence, again=again)

    def _scan_of(self, kspace: NdarrayOrTensor, mask: NdarrayOrTensor | None) -> RawScan:
        looks = self.encoding is None
        return scan_of(kspace, mask, spatial_dims=self.spatial_dims, looks=looks)

    def _check_encoding(self, encoding: Operators) -> None:
        """Refuse what cannot be done with a given operator, before any data arrive."""
        without_maps(self.options)
        for one in encoding if isinstance(encoding, list | tuple) else [encoding]:
            checked_operator(one, self.spatial_dims, self.output)

    def _weights(self, scan: RawScan, kspace: object) -> Tensor | None:
        """Return the density weights in the metadata of k-space; None where there are none.

        A certificate says how the image follows from the file, and so has the weights that follow
        from the points.
        """
        given = weights_of(kspace)
        if given is None or self.encoding is not None or not self.certificate:
            return given
        # Metadata hold one trajectory.
        own = density_weights(scan.trajectories[0], scan.spatial_shape)
        if given.shape != own.shape or not torch.allclose(given.double(), own, rtol=_ROUNDING):
            raise DataError(
                f"{scan.name}: density_weights in the metadata are not those that follow from the "
                "trajectory, which a certificate is about; leave them as LoadKspace gave them"
            )
        return own

    def _prepared(
        self, scan: RawScan, sens_maps: NdarrayOrTensor | None, weights: Tensor | None = None
    ) -> Prepared:
        """Return the scan whitened and compressed, with the maps of every slice."""
        if self.evidence and len(scan.batch_shape) > 1:
            raise UsageError(
                f"{scan.name}: {scan.batch_shape[0]} images; evidence is for one, reconstruct them "
                "with firenet_mri.reconstruct"
            )
        if self.encoding is not None:
            if sens_maps is not None:
                raise UsageError("encoding holds the maps; leave sens_maps out")
            return prepare(scan, self.options, encoding=self.encoding)
        if sens_maps is None:
            # The map of one coil is 1, whatever the method.
            options = self.options if scan.coils > 1 else self.options.replace(maps="none")
            prepared = prepare(scan, options, weights=weights)
            if scan.trajectory is not None or options.joint is not None:
                # There is one way of making maps along a trajectory, or of the mean of frames.
                return prepared
            made, from_data = self._estimated(prepared.planes)
            assert isinstance(options.maps, str)
            others = slices_with_other_maps(prepared.planes, options.maps)
            prepared = replace(prepared, warnings=(*prepared.warnings, *others))
        else:
            if self.options.coils is not None:
                raise UsageError("sens_maps are those of the coils as they are; leave coils out")
            items = scan.kspace.reshape(-1, *scan.kspace.shape[-scan.sample_ndim - 1 :])
            shape = (scan.coils, *scan.spatial_shape)
            given = given_maps(sens_maps, items, "sens_maps", shape[1:]).expand(len(items), *shape)
            maps = given.reshape(*scan.batch_shape, *shape)
            prepared = prepare(scan, self.options.replace(maps=maps), weights=weights)
            if self.options.joint is not None:
                return prepared
            made, from_data = [Sensitivities(one) for one in given], _were_estimated(sens_maps)
        pairs = zip(prepared.items, made, strict=True)
        items_ = tuple(
            replace(item, maps=m.maps, maps_from_data=from_data, eigenvalues=m.eigenvalues)
            for item, m in pairs
        )
        return replace(prepared, items=items_)

    def _estimated(self, scan: RawScan) -> tuple[list[Sensitivities], bool]:
        """Return maps of every slice, and whether they were made from the data."""
        items = scan.kspace.reshape(-1, *scan.kspace.shape[-scan.spatial_ndim - 1 :])
        masks = scan.mask.reshape(-1, 1, *scan.spatial_shape)
        method = self.options.maps
        assert isinstance(method, str)
        # The map of one coil is 1, made from nothing.
        from_data = scan.coils > 1 and method != "none"
        background = self.options.background
        return estimated_sensitivities(items, masks, method, background), from_data

    def _metatensor(
        self, image: Tensor, ndim: int, meta: dict[str, Any], *, of_plane: bool
    ) -> MetaTensor:
        """Return images (image, z, y, x), or (slices, *spatial), channel first, with metadata."""
        affine = torch.as_tensor(meta.pop("affine"), dtype=torch.float64)
        if self.image_axes == "xyz":
            image = image.permute(0, 3, 2, 1)
            image = image[..., 0] if of_plane else image
        else:
            order = [2, 1, 0, 3] if ndim == 3 else [1, 0, 2, 3]
            affine = affine[:, order]
        meta["original_affine"] = affine.clone()
        meta["spatial_shape"] = torch.tensor(image.shape[1:])
        return MetaTensor(image.contiguous(), affine=affine, meta=meta)


class StabilityCertificate(Configured, Transform):
    """Puts the certificate of an image into its metadata, after checking that it is this image's.

    The network runs once more, and the image must be the one that comes out: a changed image never
    gets a certificate. Where the image is not needed before, use :class:`FIRENETReconstruct` with
    ``certificate=True``, which takes one run.

    Parameters
    ----------
    reconstruct
        The transform that made the image; None is ``FIRENETReconstruct()``.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, reconstruct: FIRENETReconstruct | None = None) -> None:
        self.reconstruct = FIRENETReconstruct() if reconstruct is None else reconstruct
        _check_certifiable(self.reconstruct.output)

    def __call__(  # type: ignore[override]
        self,
        image: NdarrayOrTensor,
        kspace: RawScan | NdarrayOrTensor,
        mask: NdarrayOrTensor | None = None,
        sens_maps: NdarrayOrTensor | None = None,
    ) -> MetaTensor:
        """Return the image with ``meta["certificate"]``, and evidence if ``reconstruct`` makes it.

        Parameters
        ----------
        image
            What ``reconstruct`` made of the other arguments, see :class:`FIRENETReconstruct`.
        kspace, mask, sens_maps
            Its arguments.

        Raises
        ------
        DataError
            If the image is another one.
        """
        again = copy.copy(self.reconstruct)
        again.certificate = True
        made = again(kspace, mask, sens_maps)
        found, expected = plain(image, "the image").cpu(), made.as_tensor()
        # Pixel by pixel: in a norm over all of them a small lesion would not count.
        is_same = found.shape == expected.shape and bool(
            (found - expected).abs().max() <= _SAME_PIXELS * expected.abs().max()
        )
        if not is_same:
            raise DataError(
                f"The image of shape {tuple(found.shape)} is not the one that this network makes "
                "of this k-space; certify it before anything changes it, with the transform that "
                "made it"
            )
        meta = dict(image.meta) if isinstance(image, MetaTensor) else dict(made.meta)
        meta["certificate"] = made.meta["certificate"]
        meta["warnings"] = made.meta["warnings"]
        if "evidence" in made.meta:
            carried = Carried.from_text(made.meta["evidence"])
            # The image that came is the one that is written; it may differ by rounding.
            meta["evidence"] = replace(carried, shown=digest_of_tensor(found)).to_text()
        return MetaTensor(found, meta=meta)


def _check_certifiable(output: Output) -> None:
    if output == "rss":
        raise UsageError(
            "The certificate is about the network's image, and rss has the samples in it, too; use "
            "output='magnitude' or 'complex' with it"
        )


def _images(
    prepared: Prepared, output: Output, x0: NdarrayOrTensor | None
) -> tuple[Tensor, list[str]]:
    """Return the images (slices, *spatial) of a scan, without a certificate, and its warnings.

    They are complex except for the output "rss".
    """
    options, count = prepared.options, len(prepared.items)
    if options.joint is not None and (output == "rss" or x0 is not None):
        raise UsageError(
            "joint works neither with the output rss nor with a start x0; leave one out"
        )
    starts: list[Tensor | None] = [None] * count
    if x0 is not None:
        if options.phase_constraint is not None:
            raise UsageError("With a phase constraint the network starts at zero; leave x0 out")
        starts = list(plain(x0, "x0").split(1))
    if len(starts) != count:
        raise ShapeError(
            f"x0 has {counted(len(starts), 'slice')}, k-space {count}; give one for each"
        )
    device = find_device(options.device)
    net = prepared.net.to(device)
    images: list[Tensor] = []
    warnings = list(prepared.warnings)
    with torch.no_grad():
        for item, start in zip(prepared.items, starts, strict=True):
            encoded = prepared.encoded(item)[0].to(device)
            x = None if start is None else _start(start, encoded)
            solution = solve(net, encoded, x0=x, passes=options.passes)
            image = solution.image
            images.append((_rss(image, encoded, item) if output == "rss" else image).cpu())
            about_data = item_warnings(solution.encoded, solution.state.x, net)
            warnings += [replace(one, items=(item.index,)) for one in about_data]
    places = places_of(prepared.scan, count, options.joint)
    image = image_of(prepared, images)
    image = image.reshape(-1, *image.shape[-prepared.scan.spatial_ndim :])
    return image, [warning.line(places) for warning in joined(warnings)]


def _rss(image: Tensor, encoded: Encoded, item: Item) -> Tensor:
    """Return the root-sum-of-squares (*spatial) of one slice, see :func:`root_sum_of_squares`."""
    assert item.maps is not None
    assert encoded.sampled is not None
    parts = item.maps, encoded.samples, encoded.sampled
    return root_sum_of_squares(image[None], *(part.to(image.device)[None] for part in parts))[0]


def _start(x0: Tensor, encoded: Encoded) -> Tensor:
    """Return the start (*spatial) of one slice, from (1, *spatial) as a user gives it."""
    zero_filled = encoded.turned(encoded.encoding.adjoint(encoded.y))
    return encoded.start(start_image(x0, zero_filled[None])[0])


def _were_estimated(sens_maps: NdarrayOrTensor) -> bool:
    """Return whether maps say that they were estimated, as EstimateSensitivity's do."""
    return isinstance(sens_maps, MetaTensor) and bool(sens_maps.meta.get("maps_from_data", False))


def _image_metadata(scan: RawScan, kspace: RawScan | NdarrayOrTensor | None) -> dict[str, Any]:
    """Return the metadata of k-space that are the image's, too, with the affine of (x, y, z)."""
    meta = place_of(scan)
    if scan.geometry is None and isinstance(kspace, MetaTensor):
        meta["affine"] = kspace.affine
    same = ("affine", "space", "original_channel_dim", "filename_or_obj", "spatial_ndim")
    kept = (*same, "simulated", "is_placed", "images", "record")
    return {name: meta[name] for name in kept} | {DOMAIN: IMAGE}
