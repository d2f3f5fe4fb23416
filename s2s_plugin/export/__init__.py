"""The model as graphs for other runtimes."""
