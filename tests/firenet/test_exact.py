"""Objective and bound in parts are those of numpy on dense matrices, whatever the parts are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import assert_close

from firenet_mri.firenet.certificate.exact import exact_norm
from firenet_mri.firenet.certificate.gap import evaluate
from firenet_mri.firenet.coherent import coherent_form
from firenet_mri.firenet.dual import DualPoint
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.operators import encoding_operator, frame, make_sparsifier, sense

KINDS = ("haar", "undecimated-haar", "tv", "tv+undecimated-haar", "undecimated-db2")
CASES = [(kind, shape) for kind in KINDS for shape in ((20, 12), (8, 9, 8))]
CASES.append(("dual-tree", (20, 12)))
COILS, LAM = 3, 0.05


def parts_are_small(monkeypatch) -> None:
    """Have every coil and every few rows be a part."""
    monkeypatch.setattr(sense, "_MANY", 0)
    monkeypatch.setattr(frame, "_LARGE", 0)
    monkeypatch.setattr(frame, "_SLAB", 1)


def problem_of(sparsifier, shape, weights=None) -> SquareRootLasso:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(COILS, *shape, dtype=torch.complex64, generator=generator)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.rand(shape, generator=generator) < 0.6
    return SquareRootLasso(encoding_operator(mask, maps, len(shape)), sparsifier, weights, LAM)


def point_for(problem: SquareRootLasso, batch=(2,)) -> tuple[torch.Tensor, torch.Tensor, DualPoint]:
    """Return y, x and a dual point of single precision."""
    generator = torch.Generator().manual_seed(2)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, dtype=torch.complex64, generator=generator)

    x, source, near = (randn(*problem.encoding.domain_shape) for _ in range(3))
    y = problem.encoding(x) + 0.1 * randn(*problem.encoding.codomain_shape)
    share = torch.rand(batch, generator=generator) + 0.5
    q = None if problem.is_synthesis else 1e-2 * randn(*problem.transform.codomain_shape)
    # A dual that points to an optimum: share (A m - y) for a small m.
    mean = 0.5 * x + 0.05 * source
    source = share.reshape(*batch, *[1] * len(problem.encoding.domain_shape)) * mean
    return y, x, DualPoint(source, share, q, near)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_parts_give_what_the_definition_gives(kind, shape, monkeypatch) -> None:
    operator = make_sparsifier(kind, shape, None if kind == "tv" else 1)
    weights = None
    if not operator.is_unitary:
        weights = 0.5 + operator.band_norms.expand(operator.codomain_shape[0], *[1] * len(shape))
        if operator.groups is None:
            # As reweighting has them, one for each coefficient.
            weights = weights + torch.rand(shape, generator=torch.Generator().manual_seed(0))
    problem = problem_of(operator, shape, weights)
    y, x, point = point_for(problem)
    data, exact = y.to(torch.complex128), point.to(torch.complex128)
    objective = problem.objective(x.to(data.dtype), data)
    bound = problem.dual_value(exact.dual(problem, data), data, exact.q)
    parts_are_small(monkeypatch)
    found = evaluate(problem, y, x, point)
    assert float(bound.min()) > 0
    assert_close(found[0], objective)
    assert_close(found[1], bound)


def test_parts_of_phase_coherent_sparsity_give_what_the_definition_gives(monkeypatch) -> None:
    base = make_sparsifier("undecimated-haar", (20, 12), 1)
    problem = problem_of(coherent_form(base, base.band_norms)[0], (20, 12))
    y, x, point = point_for(problem)
    data, exact = y.to(torch.complex128), point.to(torch.complex128)
    expected = problem.dual_value(exact.dual(problem, data), data, exact.q)
    parts_are_small(monkeypatch)
    found = evaluate(problem, y, x, point)
    assert_close(found[0], problem.objective(x.to(data.dtype), data))
    assert_close(found[1], expected)


def test_values_are_those_of_numpy_on_dense_matrices(monkeypatch) -> None:
    parts_are_small(monkeypatch)
    shape = (6, 4)
    problem = problem_of(make_sparsifier("undecimated-haar", shape, 1), shape)
    y, x, point = point_for(problem, batch=())
    basis = torch.eye(24, dtype=torch.complex128).reshape(24, *shape)
    a, w = (op(basis).flatten(1).mT.numpy() for op in (problem.encoding, problem.transform))
    flat = [t.to(torch.complex128).flatten().numpy() for t in (y, x, point.source, point.q)]
    data, image, source, q = flat
    objective = LAM * np.abs(w @ image).sum() + np.linalg.norm(a @ image - data)
    v = a @ source - float(point.share) * data
    q = q - w @ np.linalg.pinv(w) @ q - np.linalg.pinv(w.conj().T) @ (a.conj().T @ v)
    scale = min(1 / np.linalg.norm(v), (LAM / np.abs(q)).min())
    bound = -scale * np.vdot(v, data).real
    found = evaluate(problem, y, x, point)
    np.testing.assert_allclose([float(value) for value in found], [objective, bound], rtol=1e-7)
    assert float(found[1]) <= float(found[0])


def test_exact_norm_is_that_of_numpy() -> None:
    y = 1e3 * torch.randn(2, 5, 4, 3, dtype=torch.complex64)
    expected = np.linalg.norm(y.numpy().astype(complex).reshape(2, -1), axis=1)
    found = exact_norm(y, (-3, -2, -1))
    assert found.shape == (2, 1, 1, 1)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.flatten(), expected, rtol=1e-12)


@pytest.mark.parametrize("has_own_masks", [False, True])
def test_parts_of_an_encoding_operator_are_its_rows(has_own_masks, monkeypatch) -> None:
    monkeypatch.setattr(sense, "_MANY", 0)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(COILS, 6, 5, dtype=torch.complex128, generator=generator)
    mask = torch.rand(COILS if has_own_masks else 1, 6, 5, generator=generator) < 0.5
    whole = encoding_operator(mask, maps)
    x = torch.randn(2, 6, 5, dtype=torch.complex128, generator=generator)
    pieces = list(whole.data_parts())
    assert [first for first, _ in pieces] == ([0] if has_own_masks else [0, 1, 2])
    assert_close(torch.cat([part(x) for _, part in pieces], dim=1), whole(x))
    for _, part in pieces:
        assert part.norm_bound >= float(part.root_sum_of_squares.max())
