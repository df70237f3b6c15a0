"""Networks whose weights were learned from data and whose Lipschitz constant is proven."""
