"""Measurements: accuracy beside SigPy's reconstructions, convergence, and time beside the FFTs."""
