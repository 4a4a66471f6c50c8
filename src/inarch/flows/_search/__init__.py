"""What `inarch merge search` is made of."""
