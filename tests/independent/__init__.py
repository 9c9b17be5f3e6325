"""A second decoder, written from docs/format.md alone: what keeps the document true."""
