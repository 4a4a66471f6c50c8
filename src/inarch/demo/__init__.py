"""The tiny world that needs no download: models that know different things, and their fusion."""
