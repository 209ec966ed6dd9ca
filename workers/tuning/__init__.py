"""HPO and AutoML: proposes trials, ends those that promise little, chooses the winner. Never trains, never waits."""
