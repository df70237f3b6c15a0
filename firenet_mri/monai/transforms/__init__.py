"""Reconstruction as MONAI transforms, for arrays and dictionaries; see ``firenet_mri.monai``."""
