"""Every face that takes options: its class, what it accepts, and what it refuses by name.

Run as a program, it first adds one field to two options classes, in their source as it is loaded,
and prints what became of these two at every face.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]

NEW_FIELDS = {
    "firenet_mri.firenet.options": '    novelty: int = option(7, "A new number.")\n\n',
    "firenet_mri.reconstruction.options": '    surprise: bool = option(False, "A new flag.")\n\n',
}


class Face(NamedTuple):
    """A face of the library.

    Parameters
    ----------
    name
        For messages.
    classes
        The options classes of which it takes the fields.
    refused
        Fields that mean nothing there.
    accepted
        The names of all that it takes, its own parameters included.
    give
        Takes options by name and returns, flat, what the face holds then; None for commands.
    others
        Names of fields that mean something else there, which is accepted.
    """

    name: str
    classes: tuple[Any, ...]
    refused: tuple[str, ...]
    accepted: set[str]
    give: Callable[..., dict[str, Any]] | None
    others: tuple[str, ...] = ()


def deploy_operator() -> Any:
    """Return the operator for MONAI Deploy, with a stand-in for the SDK where that is missing."""
    try:
        import monai.deploy.core  # noqa: F401
    except ImportError:
        core = types.ModuleType("monai.deploy.core")
        core.Fragment = core.OperatorSpec = object

        class Operator:
            def __init__(self, fragment: object, *args: object, **kwargs: object) -> None:
                self.others = kwargs

        core.Operator = Operator
        sys.modules["monai.deploy"] = types.ModuleType("monai.deploy")
        sys.modules["monai.deploy.core"] = core
        try:
            return load("plugins/monai_deploy/firenet_operator.py").FIRENETReconstructionOperator
        finally:
            del sys.modules["monai.deploy"], sys.modules["monai.deploy.core"]
    return load("plugins/monai_deploy/firenet_operator.py").FIRENETReconstructionOperator


def load(path: str) -> types.ModuleType:
    """Return the module in a file of the repository."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def faces() -> list[Face]:
    """Return all of them."""
    import numpy as np

    import firenet_mri.monai as fm
    from firenet_mri import NetworkOptions, ReadOptions, ReconstructionOptions, read, reconstruct
    from firenet_mri.batch.options import JobOptions
    from firenet_mri.cli.batch import batch
    from firenet_mri.cli.recon import recon
    from firenet_mri.firenet.presets import make_network
    from firenet_mri.server.options import StreamOptions
    from firenet_mri.sigpy import FIRENETRecon

    def names(callable_: Any) -> set[str]:
        return set(inspect.signature(callable_).parameters)

    ones = np.ones((1, 8, 8), np.complex64)
    operator = deploy_operator()
    transform, dictionary = fm.FIRENETReconstruct, fm.FIRENETReconstructd
    load, loadd = fm.LoadKspace, fm.LoadKspaced
    commands = (ReadOptions, ReconstructionOptions)
    stream = {field.name for field in StreamOptions.fields(without=StreamOptions.REFUSED)}
    job = {field.name for field in JobOptions.fields(without=JobOptions.REFUSED)}
    return [
        Face("reconstruct", (ReconstructionOptions,), (), names(reconstruct), None),
        Face("make_network", (NetworkOptions,), ("weights",), names(make_network), None),
        Face("read", (ReadOptions,), (), names(read), None),
        Face(
            "FIRENETModel",
            (fm.FIRENETModel.OPTIONS,),
            fm.FIRENETModel.REFUSED,
            names(fm.FIRENETModel),
            lambda **kw: fm.FIRENETModel(**kw).options.flat(),
        ),
        Face(
            "FIRENETReconstruct",
            (transform.OPTIONS,),
            transform.REFUSED,
            names(transform),
            lambda **kw: transform(**kw).options.flat(),
        ),
        Face(
            "FIRENETReconstructd",
            (dictionary.OPTIONS,),
            dictionary.REFUSED,
            names(dictionary),
            lambda **kw: dictionary("kspace", **kw).transform.options.flat(),
        ),
        Face(
            "FIRENETRecon",
            (FIRENETRecon.OPTIONS,),
            FIRENETRecon.REFUSED,
            names(FIRENETRecon),
            lambda **kw: FIRENETRecon(ones, ones, show_pbar=False, **kw).options.flat(),
            # Those of the samples, as in SigPy's apps.
            others=("weights",),
        ),
        Face(
            "server",
            (StreamOptions,),
            StreamOptions.REFUSED,
            stream,
            lambda **kw: StreamOptions.of({"parameters": kw}).flat(),
        ),
        Face(
            "batch",
            (JobOptions,),
            JobOptions.REFUSED,
            job,
            lambda **kw: JobOptions.from_mapping(kw, without=JobOptions.REFUSED).flat(),
        ),
        Face(
            "MONAI Deploy",
            (operator.OPTIONS,),
            operator.REFUSED,
            names(operator),
            lambda **kw: operator(None, **kw).options.flat(),
        ),
        Face("LoadKspace", (load.OPTIONS,), load.REFUSED, names(load), None),
        Face("LoadKspaced", (loadd.OPTIONS,), loadd.REFUSED, names(loadd), None),
        Face("MRDReader", (ReadOptions,), fm.MRDReader.REFUSED, names(fm.MRDReader), None),
        Face("firenet recon", commands, (), names(recon), None),
        Face("firenet batch", commands, JobOptions.REFUSED, names(batch), None),
    ]


def console() -> set[str]:
    """Return what OpenRecon's console asks for."""
    content = load("plugins/openrecon/label.py").content()
    return {one["id"] for one in content["parameters"]}


class Adding(importlib.machinery.SourceFileLoader):
    """Loads an options module with one more field, which no other file knows of."""

    def get_code(self, fullname: str) -> types.CodeType:
        """Return the code of the changed source, past any cache."""
        path = self.get_filename(fullname)
        text = Path(path).read_text(encoding="utf-8")
        before, found, after = text.partition("    def _check_together(")
        assert found
        return self.source_to_code(before + NEW_FIELDS[fullname] + found + after, path)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the options modules for :class:`Adding`."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return how an options module is loaded; other modules are not looked for here."""
        if fullname not in NEW_FIELDS:
            return None
        file = ROOT / (fullname.replace(".", "/") + ".py")
        loader = Adding(fullname, str(file))
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


def main() -> None:
    """Print what every face makes of the two new fields."""
    sys.meta_path.insert(0, Finder())
    report: dict[str, Any] = {"console": sorted(console())}
    for face in faces():
        known = {field.name for cls in face.classes for field in cls.fields()}
        new = {"novelty": 3, "surprise": True}
        given = {name: value for name, value in new.items() if name in known}
        held = None if face.give is None or not given else face.give(**given)
        report[face.name] = {
            "known": sorted(given),
            "accepted": sorted(face.accepted & set(new)),
            "held": None if held is None else {name: held[name] for name in given},
        }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
