"""The commands of ``firenet paper``: one an experiment, ending in figure and table."""
