"""`python -m learned_codec`: the command line, also if `learned-codec` is not on the PATH."""

from learned_codec.cli import main

if __name__ == "__main__":
    main(prog_name="learned-codec")
