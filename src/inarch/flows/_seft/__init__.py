"""What `inarch align seft` is made of."""
