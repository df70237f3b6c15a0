"""Readers and writers of images: NIfTI, DICOM, BIDS, MRD images and pictures."""
