"""Files that mean harm, by the thousand. `python -m tests.fuzz --help` runs for as long as one likes."""
