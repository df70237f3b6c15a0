"""What needs gradients of whole networks: their training (loop) and attacks on them (attack)."""
