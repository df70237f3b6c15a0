"""Measurements: accuracy beside SigPy's reconstructions, and time beside the FFTs."""
