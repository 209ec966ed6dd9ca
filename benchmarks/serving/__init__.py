"""Requests per second and latency of GetRecommendations and PutEvents, beside the same servers answering a constant."""
