"""A network that is learned, layer by layer, and keeps a proven Lipschitz constant."""
