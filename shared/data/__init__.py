"""What a dataset holds: its Avro schema, the rows of its CSV files, and what models are trained on, made from these.

Nothing is imported here: ``schemas`` is cheap and read by every service, the other modules need DuckDB or
numpy.
"""
