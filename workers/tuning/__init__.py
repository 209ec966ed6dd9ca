"""HPO and AutoML: a process and a queue, which no command is sent to yet."""
