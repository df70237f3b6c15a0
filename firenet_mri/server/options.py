"""The options that a host may request, as JSON parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from firenet_mri.errors import UsageError
from firenet_mri.firenet.learned.formats import SHIPPED
from firenet_mri.options import Options, documented, option
from firenet_mri.reconstruction.options import ReconstructionOptions

_log = logging.getLogger(__name__)

_LONGEST_NAME = 40
# Upper limits for remote clients; on the command line, users spend their own time.
_MOST = {"layers": 1000, "levels": 16, "reweighting": 10, "map_sets": 8}


@documented
@dataclass(frozen=True, eq=False)
class StreamOptions(Options):
    """A host's request: the options of the reconstruction, and the kind of pixels to return."""

    panel = "Images"
    #: Options that have no meaning here: the server chooses the device, and it sends only the
    #: sentence of the certificate.
    REFUSED: ClassVar[tuple[str, ...]] = ("device", "jacobian", "recovery")

    reconstruction: ReconstructionOptions = option(
        ReconstructionOptions(), "See :class:`ReconstructionOptions`."
    )
    output: Literal["magnitude", "complex"] = option("magnitude", "Pixels: magnitude or complex.")
    dtype: Literal["float32", "int16"] = option(
        "float32",
        "Type of magnitudes: float32, or int16, scaled to 0 to 4095 as scanners expect.",
    )

    def _check_together(self) -> None:
        given = self.reconstruction.flat()
        for name, most in _MOST.items():
            if given[name] is not None and given[name] > most:
                raise UsageError(f"{name} is {given[name]}; a server makes at most {most}")
        if self.output == "complex" and self.reconstruction.map_sets > 1:
            raise UsageError(
                f"{self.reconstruction.map_sets} map sets have no single complex image; ask for "
                "the magnitude"
            )

    @classmethod
    def of(cls, config: object, networks: Path | None = None) -> StreamOptions:
        """Return the options of a configuration: its name, or parsed JSON with "parameters".

        Parameters of other programs are ignored, and logged by name.

        Parameters
        ----------
        config
            The configuration that the host sent.
        networks
            Folder of networks that the host may name in addition to the included ones.

        Raises
        ------
        UsageError
            If a parameter has the wrong type, has no meaning here, or closely resembles one of
            ours, or if the named network is not available.
        """
        parameters = config.get("parameters", {}) if isinstance(config, Mapping) else {}
        if not isinstance(parameters, Mapping):
            raise UsageError("The configuration's parameters are not an object; send {name: value}")
        ours = cls.own_among(map(str, parameters))
        ignored = sorted(str(name)[:_LONGEST_NAME] for name in set(parameters) - ours)
        if ignored:
            # Only names are logged, since a value may contain patient data.
            _log.info("parameters of other programs are ignored: %s", ", ".join(map(repr, ignored)))
        given = {name: parameters[name] for name in ours}
        if given.get("weights") is not None:
            given["weights"] = _known_network(str(given["weights"]), networks)
        return cls.from_mapping(given, without=cls.REFUSED)


def _known_network(name: str, folder: Path | None) -> str:
    """Return the network that a host names; no other file on this machine can be opened."""
    if name in SHIPPED:
        return name
    if folder is not None and name in {path.name for path in folder.glob("*.safetensors")}:
        return str(folder / name)
    known = f"{' or '.join(SHIPPED)}" + ("" if folder is None else ", or a file in its folder")
    raise UsageError(f"weights is {name[:_LONGEST_NAME]!r}; this server has {known}")
