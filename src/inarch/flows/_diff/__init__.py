"""What `inarch diff` is made of."""
