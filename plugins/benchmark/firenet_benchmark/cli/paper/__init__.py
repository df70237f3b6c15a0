"""The commands of ``firenet paper``: one per experiment, which writes a figure and a table."""
