"""Fuzz targets: seeded mutators of valid input, run by hand for long and by pytest for a moment."""
