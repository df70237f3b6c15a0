"""What others need to check a certificate: the image that it is about, and the dual point.

With the scan and the options these few images are enough to compute objective and lower bound
again. The dual of the data is v = A source - share y. That of the coefficients is recovered from
the signs of W near (see :mod:`firenet_mri.firenet.dual`), since storing it would take as many
images as the frame has bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from firenet_mri.errors import DataError
from firenet_mri.firenet.certificate.gap import ProvenGap
from firenet_mri.firenet.lipschitz import Proof


def _nothing() -> Tensor:
    return torch.zeros(0, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The image and the dual point of several items (slices), in the precision of the data.

    Parameters
    ----------
    x
        (item, *domain_shape) complex64 or complex128: the network's image, at which the objective
        is evaluated.
    source, share
        (item, *domain_shape) as x, and (item) float64: the dual of the data; empty where no
        gap was computed.
    near
        (item, *domain_shape) as x: an image near the optimum; empty in the synthesis form.
    multipliers
        (pair) float64: those that prove the Lipschitz constant, in the order of
        :func:`firenet_mri.firenet.monotonicity.forms`; empty where it has another proof or none.
    data_share
        (2) float64: the interval of shares for which they do so; empty in the synthesis form.
    """

    x: Tensor
    source: Tensor
    share: Tensor
    near: Tensor
    multipliers: Tensor = field(default_factory=_nothing)
    data_share: Tensor = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        items = len(self.x)
        shapes = {tuple(self.x.shape), (0,)}
        fits = {tuple(self.source.shape), tuple(self.near.shape)} <= shapes
        if not fits or tuple(self.share.shape) not in ((items,), (0,)):
            raise DataError(
                f"Evidence of shapes {tuple(self.x.shape)}, {tuple(self.source.shape)}, "
                f"{tuple(self.share.shape)} and {tuple(self.near.shape)} came; the images of all "
                "items need one shape, or there are none"
            )

    @classmethod
    def of(
        cls,
        x: Tensor,
        gap: ProvenGap | None,
        domain_ndim: int,
        proof: Proof | None = None,
    ) -> Evidence:
        """Return the evidence of images (*batch, *domain_shape), flattened to items."""

        def flat(images: Tensor) -> Tensor:
            shape = images.shape[images.ndim - domain_ndim :]
            kind = torch.promote_types(images.dtype, torch.complex64)
            return images.detach().to("cpu", kind).reshape(-1, *shape)

        numbers = () if proof is None else proof.multipliers or ()
        ends = () if proof is None else proof.data_share or ()
        constants = tuple(
            torch.tensor([float(value) for value in values], dtype=torch.float64)
            for values in (numbers, ends)
        )
        none = torch.zeros(0, dtype=torch.complex64)
        if gap is None:
            return cls(flat(x), none, _nothing(), none, *constants)
        point = gap.point
        near = none if point.q is None else flat(point.near)
        share = point.share.detach().to("cpu", torch.float64).reshape(-1)
        return cls(flat(x), flat(point.source), share, near, *constants)

    @classmethod
    def join(cls, parts: Sequence[Evidence]) -> Evidence:
        """Return the evidence of the items of several, in their order, of one network."""
        return cls(
            torch.cat([part.x for part in parts]),
            torch.cat([part.source for part in parts]),
            torch.cat([part.share for part in parts]),
            torch.cat([part.near for part in parts]),
            parts[0].multipliers,
            parts[0].data_share,
        )
