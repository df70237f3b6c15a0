"""What others need to check a certificate, as text for MONAI's metadata, and back.

Text survives everything that is done to metadata, as in :mod:`firenet_mri.monai.links`. It is JSON:
the report of the certificate's file, the file of the evidence in base 64, and the SHA-256 of the
image that the transform returned.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from firenet_mri.digests import digest_of_tensor
from firenet_mri.errors import DataError
from firenet_mri.io.evidence import write_evidence
from firenet_mri.reconstruction import Reconstruction


@dataclass(frozen=True)
class Carried:
    """What metadata carry besides the certificate.

    Parameters
    ----------
    report
        What is known about the reconstruction.
    evidence
        The bytes of the evidence's file.
    shown
        SHA-256 of the image as the transform returned it.
    """

    report: Mapping[str, Any]
    evidence: bytes
    shown: str

    @classmethod
    def of(cls, result: Reconstruction, shown: Tensor) -> Carried:
        """Return what goes with a reconstruction, of which an image is shown."""
        file = io.BytesIO()
        write_evidence(file, result.evidence)
        # Transforms are deterministic; timings are not.
        report = {name: value for name, value in result.report(None).items() if name != "timings"}
        return cls(report, file.getvalue(), digest_of_tensor(shown))

    def to_text(self) -> str:
        """Return it as text."""
        evidence = base64.b64encode(self.evidence).decode("ascii")
        return json.dumps({"report": self.report, "evidence": evidence, "shown": self.shown})

    @classmethod
    def from_text(cls, text: str) -> Carried:
        """Return what :meth:`to_text` turned into text.

        Raises
        ------
        DataError
            If it is something else.
        """
        try:
            found = json.loads(text)
            return cls(found["report"], base64.b64decode(found["evidence"]), str(found["shown"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The metadata's evidence is damaged ({type(error).__name__}); leave it as it came"
            ) from None
