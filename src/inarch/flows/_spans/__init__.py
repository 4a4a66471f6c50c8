"""What `inarch spans train` and `inarch spans score` are made of."""
