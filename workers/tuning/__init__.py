"""HPO and AutoML: proposes trials, ends unpromising ones, chooses the winner. It never trains and never waits."""
