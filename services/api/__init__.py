"""The API service: the control plane of Amazon Personalize."""
