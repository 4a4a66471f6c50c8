"""Tensors of one name, one tensor."""
