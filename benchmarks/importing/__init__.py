"""Import speed and memory beside plain DuckDB."""
