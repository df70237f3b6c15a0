"""Images over time: which method reconstructs them best from few lines per frame."""
