"""K-space in: one module per format, told apart by content, not by name; and k-space out."""
