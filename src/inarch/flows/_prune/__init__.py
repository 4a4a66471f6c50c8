"""What `inarch prune` is made of."""
