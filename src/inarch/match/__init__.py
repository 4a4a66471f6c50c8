"""Two tokenizations of one text: which position speaks for which, and which id for which."""

from inarch.match.coverage import Tables, align, build_tables
from inarch.match.positions import pair_positions
from inarch.match.remap import remap
from inarch.match.vocabulary import MatchSettings, build_map

__all__ = [
    "MatchSettings",
    "Tables",
    "align",
    "build_map",
    "build_tables",
    "pair_positions",
    "remap",
]
