"""Images out, and in again: NIfTI, DICOM, BIDS, MRD images and pictures."""
