"""What a model says by itself: likelihoods, chosen and written answers, speed."""
