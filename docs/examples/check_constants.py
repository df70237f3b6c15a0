"""Checks the Lipschitz constants of a certificate, beside check_certificate.py and used like it.

What the multipliers in IMAGE.evidence.h5 prove of the layers that the options name is found anew,
in integers (docs/theory.md, 3.3 and 3.4), and what follows for this scan, and for other maps (3.7).
It needs numpy and h5py, covers what check_certificate.py covers, and has its exit statuses.
"""

import json
import math
import sys
from fractions import Fraction
from itertools import product
from pathlib import Path

import h5py
import numpy as np
from check_certificate import COVERED, FREE, refuse_unless

TOLERANCE = 1e-6  # Maps and norms were computed in single precision.
BITS = 256  # of all numbers after the point


def combine(*terms):
    """Return a linear combination of vectors, which are dictionaries of their coefficients."""
    names = dict.fromkeys(name for _, vector in terms for name in vector)
    total = {name: sum(factor * vector.get(name, 0) for factor, vector in terms) for name in names}
    return {name: value for name, value in total.items() if value}


def least_square(terms, output, weight):
    """Return a t^2 for which a form is semidefinite, the least but for rounding; inf without one.

    weight t^2 y y^T - output output^T - 2 sum mu <p, r>, (mu, p, r) in the terms, is rounded to an
    integer matrix S and eliminated from its last row to that of y. Entries in m rows, each off by
    less than 1, are a matrix of norm m at most: less m on the diagonal, S is below the exact one.
    """
    names = ["y", *(name for _, p, r in terms for name in (*p, *r)), *output]
    row = {name: number for number, name in enumerate(dict.fromkeys(names))}
    half = np.full((len(row), len(row)), Fraction(0))
    for mu, p, r in (*terms, (Fraction(1, 2), output, output)):
        for (i, a), (j, b) in product(p.items(), r.items()):
            half[row[i], row[j]] -= mu * a * b
    s = (half + half.T) * 2**BITS // 1
    np.fill_diagonal(s, s.diagonal() - len(s))
    for last in range(len(s) - 1, 0, -1):
        pivot, rows = s[last, last], s[:last, last].nonzero()[0]
        if pivot <= 0:
            return math.inf
        s[np.ix_(rows, rows)] -= np.outer(s[rows, last], s[rows, last]) // pivot
        s[rows, rows] -= len(rows)
    return Fraction(max(0, -s[0, 0]), 2**BITS) / weight


def square_by_norm(blocks, is_average, multipliers):
    """Return the t^2 of the form Q, for ||K|| <= 1; every block begins with a zero dual."""
    given, terms, x = iter(multipliers), [], {}
    for number, taus in enumerate(blocks):
        v, images = {}, []
        for k, tau in enumerate(taus):
            x_before, v_before, x = x, v, {}
            if x_before or v_before:  # Resolvents keep zero: otherwise x is no unknown.
                x = {("x", number, k): 1}
                r = combine((1 / tau, x_before), (-1 / tau, x), (-1, v_before))
                terms.append((next(given), x, r))
            if k < len(taus) - 1:  # Nobody sees the last dual.
                v, ahead = {("v", number, k): 1}, combine((2, x), (-1, x_before), (-1, {"y": 1}))
                terms.append((next(given), v, combine((tau, v_before), (-tau, v), (1, ahead))))
            images.append(x)
        x = combine(*((Fraction(1, len(taus)), image) for image in images)) if is_average else x
    return least_square(terms, x, 1)


def square_by_structure(taus, multipliers, low, high):
    """Return the t^2 of the forms V, F and X, for ||A||^2 / L^2 from low to high."""
    mu, nu = [multipliers[0], *multipliers[1::2]], [0, *multipliers[2::2]]  # q_1 is zero.
    depth, none = len(taus), [{}] * len(taus)
    a = [{}, *({("a", k): 1} for k in range(1, depth))]
    x = [{}, {}, combine((-taus[1], a[1])), *({("x", k): 1} for k in range(3, depth + 1))]
    b = [combine((1 / taus[k], x[k]), (-1 / taus[k], x[k + 1]), (-1, a[k])) for k in range(depth)]
    z = [combine((2, x[k]), (-1, x[k - 1])) for k in range(depth)]

    def terms(factors, u, share, ahead, data):  # <u_k, (u_{k-1} - u_k) tau / share + z_k - y>
        for k, factor in enumerate(factors, 1):
            own = combine((1, u[k - 1]), (-1, u[k]))
            yield factor, u[k], combine((taus[k - 1] / share, own), (1, ahead[k]), (-1, data))

    forms, y, q = [], {"y": 1}, [{}, {}, *a[2:]]
    for one, two in product((low, high), (1 - high, 1 - low)):
        forms += [([*terms(mu, a, one, none, y)], {}), ([*terms(nu, q, two, none, {})], {})]
        forms.append(([*terms(mu, a, one, z, y), *terms(nu, b, two, z, {})], x[depth]))
    return max(least_square(*form, low) for form in forms)


def constant_of_layers(network, multipliers, ends):
    """Return L1, the constant at steps that are kept fixed; inf if it is not proven."""
    preset, is_paper = network["preset"], network["preset"] == "paper"
    has_frame = not is_paper and network["sparsifier"] is None
    length = 0.5**0.5 if has_frame else 1.0  # 1 / L: maps and Parseval frames have norm 1.
    count = network["layers"] or {"accurate": 50, "stable": 15, "paper": 25}[preset]
    decay = Fraction({"stable": "0.8", "paper": "1"}.get(preset, "0.97" if has_frame else "0.9"))
    depth, restarts = (5, count // 5) if is_paper else (count, 1)
    refuse_unless(depth * restarts == count > 0, f"{count} layers")
    if not multipliers.size:  # the closed form
        return length * float(2 * restarts if is_paper else decay * (depth - 1))
    pairs = 2 * depth - 3 if ends.size else restarts * (2 * depth - 1) - 1
    fits = multipliers.size == pairs and ((multipliers >= 0) & (multipliers < 1e99)).all()
    if not fits or (ends.size and not (has_frame and 0 < ends[0] <= 0.5 <= ends[1] < 1)):
        return math.inf
    taus, exact = [decay**k for k in range(depth)], [*map(Fraction, multipliers.tolist())]
    if ends.size:
        return length * math.sqrt(square_by_structure(taus, exact, *map(Fraction, ends.tolist())))
    return length * math.sqrt(square_by_norm([taus] * restarts, is_paper, exact))


def main(certificate, scan):
    stem, report = certificate.removesuffix(".json"), json.loads(Path(certificate).read_text())
    options, stated = report["options"]["reconstruction"], report["certificate"]
    for name, value in (report["options"]["read"] | options | options["network"]).items():
        refuse_unless(not value or name in FREE or value in COVERED, f"{name}={value}")
    with h5py.File(f"{stem}.evidence.h5") as file:
        x, multipliers, ends = (file[name][:] for name in ("x", "multipliers", "data_share"))
    samples, path = np.load(scan).astype(complex), Path(scan.removesuffix(".npy") + "_noise.npy")
    is_slice = samples.ndim == 3 and len(x) == options["map_sets"] == 1
    refuse_unless(is_slice and x.any(), "more than a slice, or a zero image")
    noise = np.load(path).astype(complex) if path.exists() else np.eye(len(samples))
    factor = np.linalg.cholesky(noise @ noise.conj().T / (noise.shape[1] if path.exists() else 1))
    y = np.linalg.solve(factor, samples.reshape(len(samples), -1))
    image, data, read = (np.linalg.norm(array.astype(complex)) for array in (x, y, samples))
    radius = math.inf if options["network"]["preset"] == "paper" else 2.5
    layers = constant_of_layers(options["network"], multipliers, ends)
    everywhere = math.hypot(layers, min(layers, radius))
    of_samples = everywhere / np.linalg.norm(factor, -2)
    found = {"lipschitz_bound": everywhere, "lipschitz_bound_of_samples": of_samples}
    found["lipschitz_bound_at_data"] = math.hypot(layers, image / data)
    found["percent_per_percent"] = of_samples * read / image
    found["gap_with_other_maps"] = gap = stated["duality_gap"][0] + 0.03 * image
    found["relative_gap_with_other_maps"] = gap / stated["objective"][0]
    wrong = ["image_ball"] if image > radius * data * (1 + TOLERANCE) else []
    for name, bound in found.items():
        parts = (stated, *(entry["values"] for entry in stated["entries"]))
        said = np.concatenate([np.ravel(part.get(name, [])).astype(float) for part in parts])
        print(f"{name}: proven {bound:.8g}, stated {said.min(initial=math.inf):.8g}")
        wrong += [] if said.size and (said >= (1 - TOLERANCE) * bound).all() else [name]
    print("Not checked: the run, image and gap (check_certificate.py), sentence, all else.")
    print(f"Wrong: {', '.join(wrong)}." if wrong else "The constants hold.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
