"""One trainer over transformers.Trainer, blind to the method.

``settings`` imports no torch; ``trainer`` holds the one function, ``train``.
"""
