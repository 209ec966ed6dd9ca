"""One training run at a time, on one device."""
