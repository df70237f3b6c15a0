"""Pages of ``firenet view`` that show a volume with NiiVue, which is included in this package."""

from __future__ import annotations

import gzip
import html
from importlib.resources import files

from firenet_mri.report import Served

# Only content of this server may be loaded. NiiVue contains its font as data.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' data:; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_SCRIPT = "text/javascript; charset=utf-8"


def pages(volume: bytes, title: str) -> dict[str, Served]:
    """Return the viewer's pages by path; "/volume" is the one to open.

    Parameters
    ----------
    volume
        A NIfTI file, .nii.gz.
    title
        The volume's name.
    """
    page = _text("volume.html").replace("{title}", html.escape(title))
    library = gzip.decompress(_bytes("niivue.umd.js.gz"))
    return {
        "/volume": Served("text/html; charset=utf-8", page.encode("utf-8"), _POLICY),
        "/volume.css": Served("text/css; charset=utf-8", _bytes("volume.css")),
        "/volume.js": Served(_SCRIPT, _bytes("volume.js")),
        "/niivue.js": Served(_SCRIPT, library),
        "/volume.nii.gz": Served("application/gzip", volume),
    }


def _bytes(name: str) -> bytes:
    return files("firenet_viewer").joinpath("static", name).read_bytes()


def _text(name: str) -> str:
    return _bytes(name).decode("utf-8")
