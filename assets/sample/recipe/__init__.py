"""A small ray marcher in NumPy that photographs four kinds of thing on a table; `make_sample.py` beside it says what and how often."""
