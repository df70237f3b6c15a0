"""Benchmarks of firenet_mri, and the experiments of the paper."""
