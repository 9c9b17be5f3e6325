"""`rio lci encode`, `rio lci decode` and `rio lci info`: this library's commands in rasterio's command line."""

from __future__ import annotations

from learned_codec.cli import main

COMMANDS = ("encode", "decode", "info", "check")

lci = type(main)(
    "lci",
    commands={name: main.commands[name] for name in COMMANDS},
    help="Images in the LCI format: the commands of learned-codec.",
)
