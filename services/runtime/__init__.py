"""The runtime service: personalize-runtime, which answers with the models that it holds in memory."""
