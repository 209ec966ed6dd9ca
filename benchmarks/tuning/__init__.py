"""HPO and AutoML: what they cost beside one training, and how trials spread over workers."""
