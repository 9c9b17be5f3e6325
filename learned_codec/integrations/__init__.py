"""What other libraries call. Each module is imported by that library or by its name, and uses the public API alone."""
