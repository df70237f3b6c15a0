"""Images over time: simulated hearts, and who reconstructs them best from few lines a frame."""
