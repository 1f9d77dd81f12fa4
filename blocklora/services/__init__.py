"""The use cases: what both the window and the command line ask for. Light: torch lives in the workers only."""
