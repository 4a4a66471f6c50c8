"""What `inarch align train` is made of."""
