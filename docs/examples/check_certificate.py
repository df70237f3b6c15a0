"""Checks a certificate with numpy and h5py alone, without the library that wrote it.

    firenet convert SCAN scan.npy; python check_certificate.py IMAGE.json scan.npy

Maps, operators and dual are made anew (docs/theory.md 3). Covered: one Cartesian slice; accurate,
stable, paper; Haar, default frame; no joint images. Exit status 1: wrong, 2: refused.
"""

import gzip
import json
import sys
from pathlib import Path

import h5py
import numpy as np

ROUNDS, TOLERANCE = 1000, 1e-5  # of the objective
SPARSITIES = np.array([15, 44, 82, 141, 232, 358, 440])  # of the paper's levels, the finest last
NUMBERS = ("objective", "lower_bound", "duality_gap", "relative_gap")
FREE = ("network", "lam", "levels", "layers", "map_sets", "compression", "jacobian")
FREE += ("recovery", "simulation")
COVERED = ("accurate", "stable", "paper", "haar", "espirit", "crop")  # Others must be off.


def refuse_unless(is_covered, what):
    if not is_covered:
        print(f"Not covered: {what}".replace("joint=", "images reconstructed together, joint="))
        sys.exit(2)


def espirit(kspace, k=6, noise=0.02, crop=0.8):
    """Return ESPIRiT's maps, 0 where there is no signal, with the image's centre at (0, 0)."""
    coils, ny, nx = kspace.shape
    widths = range(24, 11, -1)
    boxes = (kspace[:, ny // 2 - w // 2 :, nx // 2 - w // 2 :][:, :w, :w] for w in widths)
    centre = next((box for box in boxes if box.any(0).all()), None)
    refuse_unless(centre is not None and min(ny, nx) >= 24, "an image or its centre that small")
    windows = np.lib.stride_tricks.sliding_window_view(centre, (k, k), axis=(1, 2))
    rows = windows.transpose(1, 2, 0, 3, 4).reshape(-1, coils * k * k)
    values, vectors = np.linalg.eigh(rows.T @ rows.conj())
    kernels = vectors[:, values > noise**2 * values[-1]].T.reshape(-1, coils, k, k) / k
    columns = np.fft.ifft(kernels, ny, axis=2, norm="forward")
    half = min(len(centre[0]), 16) / 2 + 0.5  # of the Hann window that gives the phase
    grids = [np.clip((np.arange(n) - n // 2) / half, -1, 1) * np.pi / 2 for n in (ny, nx)]
    low = np.fft.ifft2(np.fft.ifftshift(kspace * np.outer(*map(np.cos, grids)) ** 2, (1, 2)))
    maps = np.empty_like(kspace)
    for y in range(ny):
        waves = np.fft.ifft(columns[:, :, y], nx, norm="forward").T
        values, vectors = np.linalg.eigh(waves @ waves.conj().swapaxes(1, 2))
        vector = vectors[..., -1] * (values[..., -1:] >= crop)
        maps[:, y] = vector.T * np.exp(1j * np.angle((vector.conj() * low[:, y].T).sum(1)))
    return maps


def haar(x, levels):
    """Return orthogonal Haar coefficients, up to signs, and their levels; averages have level 0."""
    x, level, (ny, nx) = x.copy(), np.zeros(x.shape, int), x.shape
    for number in reversed(range(levels)):
        block, level[:ny, :nx] = x[:ny, :nx], number
        for _ in range(2):
            odd = block[1::2]
            even, last = block[: 2 * len(odd) : 2], block[2 * len(odd) :]
            block = np.concatenate([(even + odd) / 2**0.5, last, (even - odd) / 2**0.5]).T
        x[:ny, :nx], ny, nx = block, (ny + 1) // 2, (nx + 1) // 2
    return x, level


def frame(x):
    """Return W x for the default frame, its weights, and the symbols of its filters."""
    cosines = np.cos(np.outer(range(3), [1, 3, 5]) * np.pi / 6) / np.sqrt([[9], [4.5], [4.5]])
    kernels = [np.outer(a, b) for a in cosines for b in cosines]
    weights = np.array([0.5 if np.ptp(kernel) < 1e-9 else 1 for kernel in kernels])  # norms 1 / 3
    symbols = np.array([np.fft.fft2(kernel, x.shape) for kernel in kernels])
    return np.fft.ifft2(symbols.conj() * np.fft.fft2(x)), weights[:, None, None], symbols


def feasible_dual(coefficients, symbols, image, radius):
    """Return q with W^H q = -image, and |q_i| <= radius_i if it is found; docs/theory.md 3.2."""
    ahead, previous = 1000 * coefficients, 0.0
    for count in range(ROUNDS):
        q = ahead / np.maximum(1, np.abs(ahead) / radius)
        excess = (symbols * np.fft.fft2(q)).sum(0) + np.fft.fft2(image)
        q = q - np.fft.ifft2(symbols.conj() * excess)
        if (np.abs(q) <= (1 + TOLERANCE / 2) * radius).all():
            break
        ahead, previous = q + count / (count + 3) * (q - previous), q
    return q


def objective_and_bound(y, network, x, source, share, near, stated_bound):
    """Return F(x) and a lower bound of F, as large as the stated one if that can be reached."""
    maps, y = espirit(y), np.fft.ifftshift(y, (1, 2))
    images = np.fft.ifftshift([x, source], (1, 2))[:, None]
    data = y.any(0) * np.fft.fft2(maps * images, norm="ortho")
    residual, v = data[0] - y, data[1] - share * y
    image = np.fft.fftshift((maps.conj() * np.fft.ifft2(v, norm="ortho")).sum(0))
    slope, is_paper = -np.vdot(v, y).real, network["preset"] == "paper"
    has_frame, lam = not is_paper and network["sparsifier"] is None, network["lam"]
    if lam == "auto":
        part = 1 if network["preset"] == "stable" else 0.6
        lam = 0.00025 if is_paper else 1.1 * part * (1 / 3 if has_frame else 1) / np.sqrt(y.size)
    if has_frame:
        refuse_unless(not network["levels"], "levels of the default frame")
        coefficients, weights, symbols = frame(x)
        q = feasible_dual(frame(near)[0], symbols, image, lam * weights * slope / stated_bound)
    else:
        deepest = min(7 if is_paper else 4, int(np.log2(min(x.shape))) - 1)
        levels = network["levels"] or max(1, deepest)
        (coefficients, level), (q, _) = haar(x, levels), haar(image, levels)
        s = SPARSITIES[np.maximum(np.arange(-levels, 0), -7)]
        weights = np.sqrt(s.sum() / s)[level] if is_paper else 1.0
    objective = (lam * weights * np.abs(coefficients)).sum() + np.linalg.norm(residual)
    return objective, slope / max((np.abs(q) / (lam * weights)).max(), np.linalg.norm(v))


def main(certificate, scan):
    stem, report = certificate.removesuffix(".json"), json.loads(Path(certificate).read_text())
    options, entries = report["options"]["reconstruction"], report["certificate"]["entries"]
    for name, value in (report["options"]["read"] | options | options["network"]).items():
        refuse_unless(not value or name in FREE or value in COVERED, f"{name}={value}")
    y, file = np.load(scan).astype(complex), Path(scan.removesuffix(".npy") + "_noise.npy")
    with h5py.File(f"{stem}.evidence.h5") as stored:
        refuse_unless(y.ndim == 3 and len(stored["x"]) == options["map_sets"] == 1, "more slices")
        arrays = (stored[name] for name in ("x", "source", "share", "near"))
        evidence = [array[0].astype(complex) if len(array) else None for array in arrays]
    if file.exists():
        samples = np.load(file).astype(complex)
        factor = np.linalg.cholesky(samples @ samples.conj().T / samples.shape[1])
        y = np.einsum("dc,cyx->dyx", np.linalg.inv(factor), y)
    values = next(entry["values"] for entry in entries if entry["name"] == "duality_gap")
    stated = [values[name][0] for name in NUMBERS]
    objective, bound = objective_and_bound(y, options["network"], *evidence, stated[1])
    bound = min(bound, stated[1])  # a larger one proves it, too
    found = objective, bound, objective - bound, 1 - bound / objective
    loose = max(TOLERANCE * objective, 0.01 * (objective - bound))  # rounded maps move a bound
    allowed = TOLERANCE * objective, loose, loose, loose / objective
    wrong = [name for name in NUMBERS if report["certificate"][name] != values[name]]
    for name, new, said, error in zip(NUMBERS, found, stated, allowed, strict=True):
        print(f"{name}: {new:.8g}, stated {said:.8g}")
        wrong += [] if abs(new - said) <= error else [name]
    written = np.frombuffer(gzip.decompress(Path(f"{stem}.nii.gz").read_bytes())[352:], "<f4")
    refuse_unless(written.size == (size := np.abs(evidence[0]).ravel()).size, "another grid")
    wrong += [] if np.allclose(written, size, 0, TOLERANCE * size.max()) else ["image"]
    print("Not checked: the run (firenet certify --again), constants, sentence, truth of the maps.")
    print(f"Wrong: {', '.join(wrong)}." if wrong else "The numbers hold.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
