"""The API service: the Personalize control plane."""
