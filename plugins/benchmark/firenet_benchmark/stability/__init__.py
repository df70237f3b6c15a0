"""Accuracy and stability of FIRENET beside trained networks."""
