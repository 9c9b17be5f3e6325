"""Entropy coding, integers <-> bytes: frozen probability tables and the ANS coder that uses them."""

from .coder import CoderModels, Decoder, Encoder, Runs, SymbolGroup, first_tables
from .dependent import DELTA, FIRST_BIN, dequantised
from .tables import BINS_PER_OCTAVE, SCALE_BINS, SCALE_LOG2_MIN, SKIPPED_BINS, ScaleTables, gaussian_tables

__all__ = [
    "BINS_PER_OCTAVE",
    "DELTA",
    "FIRST_BIN",
    "SCALE_BINS",
    "SCALE_LOG2_MIN",
    "SKIPPED_BINS",
    "CoderModels",
    "Decoder",
    "Encoder",
    "Runs",
    "ScaleTables",
    "SymbolGroup",
    "dequantised",
    "first_tables",
    "gaussian_tables",
]
