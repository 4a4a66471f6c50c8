"""How good is an answer? Scorers of four kinds behind one function, and their scores on disk."""
