"""The experiments of the paper: convergence, barrier, stability and trade-off."""
