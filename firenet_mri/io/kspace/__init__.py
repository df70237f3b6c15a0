"""K-space in: one module a format, told apart by content, not by name; and k-space out."""
