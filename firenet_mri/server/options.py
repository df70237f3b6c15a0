"""The options that a host may ask for, as JSON parameters."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from firenet_mri.errors import UsageError
from firenet_mri.options import Options, documented, option
from firenet_mri.reconstruction.options import ReconstructionOptions

_log = logging.getLogger(__name__)

# How alike a name must be to one of ours to be that one mistyped; others belong to other programs.
_ALIKE = 0.8
_LONGEST_NAME = 40


@documented
@dataclass(frozen=True, eq=False)
class StreamOptions(Options):
    """What a host may ask for: a reconstruction, and the pixels that it wants."""

    panel = "Images"
    #: What means nothing here: the server chooses the device, and of the certificate its sentence
    #: alone is sent.
    REFUSED: ClassVar[tuple[str, ...]] = ("device", "jacobian", "recovery")

    reconstruction: ReconstructionOptions = option(
        ReconstructionOptions(), "See :class:`ReconstructionOptions`."
    )
    output: Literal["magnitude", "complex"] = option("magnitude", "Pixels: magnitude or complex.")
    dtype: Literal["float32", "int16"] = option(
        "float32",
        "Type of magnitudes: float32, or int16, scaled to 0 to 4095 as scanners want it.",
    )

    def _check_together(self) -> None:
        if self.output == "complex" and self.reconstruction.map_sets > 1:
            raise UsageError(
                f"{self.reconstruction.map_sets} map sets have no one complex image; ask for the "
                "magnitude"
            )

    @classmethod
    def of(cls, config: object) -> StreamOptions:
        """Return the options of a configuration: its name, or parsed JSON with "parameters".

        Parameters of other programs are ignored, and logged by name.

        Raises
        ------
        UsageError
            If a parameter is of the wrong kind, means nothing here, or is nearly one of ours.
        """
        parameters = config.get("parameters", {}) if isinstance(config, Mapping) else {}
        if not isinstance(parameters, Mapping):
            raise UsageError("The configuration's parameters are not an object; send {name: value}")
        known = [field.name for field in cls.fields()]
        ours = {
            name: value
            for name, value in parameters.items()
            if difflib.get_close_matches(str(name), known, 1, _ALIKE)
        }
        ignored = sorted(str(name)[:_LONGEST_NAME] for name in set(parameters) - set(ours))
        if ignored:
            # Names alone: a value may say something of a patient.
            _log.info("parameters of other programs are ignored: %s", ", ".join(map(repr, ignored)))
        return cls.from_mapping(ours, without=cls.REFUSED)
