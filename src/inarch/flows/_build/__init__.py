"""What `inarch align build` is made of."""
