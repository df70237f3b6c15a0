"""The public names: others build on these. The rest may change without notice.

A name that is listed is importable from where it stands here; a plugin imports nothing else. A name
that moves keeps its old place for one version, with a warning.
"""

from __future__ import annotations

import ast
import importlib
import warnings
from pathlib import Path

import pytest

import firenet_mri

ROOT = Path(__file__).parents[1]

# Whole packages whose ``__all__`` is public.
PACKAGES = (
    "firenet_mri",
    "firenet_mri.calibration",
    "firenet_mri.conversion",
    "firenet_mri.io",
    "firenet_mri.monai",
    "firenet_mri.operators",
    "firenet_mri.reconstruction",
    "firenet_mri.report",
    "firenet_mri.sigpy",
)

# Single names, by their module.
NAMES = {
    "firenet_mri.calibration.methods": "Compression MapMethod",
    "firenet_mri.cli.progress": "progress progress_bars",
    "firenet_mri.cli.tables": "print_table",
    "firenet_mri.cli.training_progress": "interruptible tell_it_is_kept training_progress",
    "firenet_mri.amplification": (
        "FAILURE JacobianBounds LinearMap Linearisation OnApplication jacobian_bounds"
    ),
    "firenet_mri.digests": "Digests digest_of_data digest_of_file digest_of_tensor",
    "firenet_mri.errors": (
        "CalibrationError DataError FileError FirenetError ShapeError UsageError"
    ),
    "firenet_mri.firenet.adaptive": "AdaptiveBlock",
    "firenet_mri.firenet.base": "Derivative Network Trained Weights",
    "firenet_mri.firenet.certificate": "Entry kept_fixed",
    "firenet_mri.firenet.learned.formats": "SHIPPED Shipped format_of weights_path",
    "firenet_mri.firenet.learned.frame": (
        "FrameLayout LearnedFrameWeights LearnedSparsity load_learned_frame"
    ),
    "firenet_mri.firenet.learned.network": "Architecture LearnedNetwork",
    "firenet_mri.firenet.learned.report": "TrainingReport",
    "firenet_mri.firenet.learned.weights": "load_network save_network",
    "firenet_mri.firenet.levels": (
        "LevelStructure NullSpaceConstants PAPER_SPARSITIES RecoveryConstants admissible_lam "
        "level_index level_weights recovery_constants sharpness"
    ),
    "firenet_mri.firenet.look": "on_coefficients",
    "firenet_mri.firenet.networks": "load_weights network_of",
    "firenet_mri.firenet.options": "NetworkOptions Preset",
    "firenet_mri.firenet.presets": "make_network preset_network",
    "firenet_mri.firenet.reweighting": "solve_passes",
    "firenet_mri.firenet.primal_dual": "TrackedState start start_tracked step",
    "firenet_mri.firenet.radial": "RadialBlock",
    "firenet_mri.firenet.sampling": "Transform default_sparsities",
    "firenet_mri.firenet.solver": "Progress Schedule Solver",
    "firenet_mri.firenet.unrolled": "FixedSchedule RestartBlock Steps",
    "firenet_mri.io.evidence": "read_evidence",
    "firenet_mri.io.image.options": "ImageReadOptions",
    "firenet_mri.io.image.reading": "read_image",
    "firenet_mri.io.kspace.bart": "write_cfl",
    "firenet_mri.io.kspace.fastmri_writer": "write_fastmri",
    "firenet_mri.io.kspace.ismrmrd": "assemble",
    "firenet_mri.io.kspace.options": "ReadOptions",
    "firenet_mri.io.kspace.reading": "read_with",
    "firenet_mri.io.outputs": "atomic_writes",
    "firenet_mri.metrics": "haarpsi nmse psnr ssim",
    "firenet_mri.operators.cartesian_residual": "CartesianResidual",
    "firenet_mri.operators.density": "compensated density_weights geometric pipe_menon",
    "firenet_mri.operators.given": "GivenEncoding check_operator describe",
    "firenet_mri.operators.links": "Chain CoilMixing SampleWeighting",
    "firenet_mri.operators.trajectories": "golden_angle_frames radial spiral stack_of_stars",
    "firenet_mri.options": "Field Options documented option takes_options",
    "firenet_mri.phantoms": "ellipses shepp_logan",
    "firenet_mri.prox": "item_norm soft_threshold",
    "firenet_mri.reconstruction.certify": "certify_solution",
    "firenet_mri.reconstruction.check": (
        "Checked Claim Work check_prepared check_reconstruction check_solution"
    ),
    "firenet_mri.reconstruction.data_warnings": (
        "DataWarning item_warnings scan_warnings warnings_of"
    ),
    "firenet_mri.reconstruction.given": "as_operator",
    "firenet_mri.reconstruction.joint": "SPARSIFIER mean_of_frames",
    "firenet_mri.reconstruction.options": "ReconstructionOptions",
    "firenet_mri.reconstruction.prepare": "Item Prepared prepare",
    "firenet_mri.reconstruction.solve": "Encoded Solution encode solve zero_filled",
    "firenet_mri.report.answers": "Answer answers kept_fixed",
    "firenet_mri.scan": "AcquisitionParameters Geometry ImageGrid RawScan select split_readout",
    "firenet_mri.server": "StreamOptions process",
    "firenet_mri.server.saving": "Saving",
    "firenet_mri.simulation": "Pattern SimulationOptions interleaved_lines simulate simulate_with",
    "firenet_mri.training.attack": (
        "Ascent Momentum Perturbation Reconstruct ascend check_finite scaled_to worst_perturbation"
    ),
    "firenet_mri.training.checkpoint": "Checkpoint",
    "firenet_mri.training.inputs": "TrainingData gather",
    "firenet_mri.training.learner": "Family Frozen Learner",
    "firenet_mri.training.options": "TrainingOptions",
    "firenet_mri.training.problem": "Problem",
    "firenet_mri.training.run": (
        "Interrupted Trained TrainingFiles checkpoint_path memory_errors train_network"
    ),
    "firenet_mri.training.timed": "Look Progress Training",
    "firenet_mri.training.families": "learner_of",
    "firenet_mri.training.loop": "TrainingPlan WeightsFile shuffled train",
}

# What our user, and everybody who builds on the first version, was promised.
PROMISED = [
    "FIRENET",
    "AdaptiveSchedule",
    "Certificate",
    "FirenetError",
    "Geometry",
    "Lasso",
    "NetworkSchedule",
    "PaperSchedule",
    "PrimalDualLayer",
    "QuadraticallyConstrainedBasisPursuit",
    "RadialSchedule",
    "RawScan",
    "Reconstruction",
    "RestartBlock",
    "SquareRootLasso",
    "WARPdSchedule",
    "certify",
    "read",
    "reconstruct",
    "sample",
    "sampling_pattern",
]


def public() -> set[str]:
    """Return every public name with its module."""
    found = {f"{module}.{name}" for module, names in NAMES.items() for name in names.split()}
    for package in PACKAGES:
        found |= {f"{package}.{name}" for name in importlib.import_module(package).__all__}
    return found


@pytest.mark.parametrize("module", NAMES)
def test_every_public_name_is_where_the_list_says(module) -> None:
    for name in NAMES[module].split():
        assert not name.startswith("_")
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_export_what_they_list_and_it_says_what_it_is(package) -> None:
    exported = importlib.import_module(package)

    for name in exported.__all__:
        thing = getattr(exported, name)
        is_alias = not (isinstance(thing, type) or callable(thing))
        assert is_alias or thing.__doc__, f"{package}.{name} has no docstring"


def test_nothing_that_was_promised_is_gone() -> None:
    assert set(PROMISED) <= set(firenet_mri.__all__)


def imported(path: Path) -> list[str]:
    """Return the product's names that a file imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("firenet_mri"):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def plugin_files() -> list[Path]:
    """Return the plugins' modules, without their tests, which may look inside."""
    return [path for path in (ROOT / "plugins").rglob("*.py") if "tests" not in path.parts]


def test_plugins_import_public_names_only() -> None:
    names = public()
    # A whole public module may be imported, too.
    modules = {*PACKAGES, *NAMES}
    for path in plugin_files():
        private = [name for name in imported(path) if name not in names and name not in modules]
        assert private == [], path.relative_to(ROOT)


def test_the_check_of_plugins_finds_what_is_private(tmp_path) -> None:
    (tmp_path / "a.py").write_text("from firenet_mri.io.kspace.ge import read\n")
    assert imported(tmp_path / "a.py") == ["firenet_mri.io.kspace.ge.read"]
    assert not set(imported(tmp_path / "a.py")) & public()


def test_old_names_work_with_a_warning_that_names_the_version_which_drops_them() -> None:
    from test_bounds import cartesian_scan

    result = firenet_mri.reconstruct(cartesian_scan(), layers=2, maps="lowres")
    with pytest.warns(DeprecationWarning, match=r"options and network; .*removed in 0\.4"):
        settings = result.settings
    assert settings.layers == 2
    assert settings.maps == "lowres"
    assert settings.whitened
    for old, new, name in (
        ("firenet_mri.io.ismrmrd", "firenet_mri.io.kspace.ismrmrd", "assemble"),
        ("firenet_mri.io.nifti", "firenet_mri.io.image.nifti", "write_nifti"),
        ("firenet_mri.firenet.digests", "firenet_mri.digests", "digest_of_tensor"),
        ("firenet_mri.subnormal", "firenet_mri.operators.denormals", "denormals_flushed"),
    ):
        with pytest.warns(DeprecationWarning, match=rf"{old} is now {new}; .*removed in 0\.4"):
            moved = importlib.import_module(old)
        assert getattr(moved, name) is getattr(importlib.import_module(new), name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.import_module("firenet_mri.io")
