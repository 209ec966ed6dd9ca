"""Datasets: Avro schemas, imports of CSV files, and the arrays that models are trained on.

This package imports nothing itself: every service reads the cheap module ``schemas``, while the other modules need
DuckDB or numpy.
"""
