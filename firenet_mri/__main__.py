"""``python -m firenet_mri`` is the command ``firenet``."""

from __future__ import annotations

from firenet_mri.cli import main

if __name__ == "__main__":
    main()
