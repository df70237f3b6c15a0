"""firenet_mri in napari: a reader of raw scans, and a widget that reconstructs them."""
