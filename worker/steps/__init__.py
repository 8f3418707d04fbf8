"""A request's way, one step a file; `pipeline` tells it."""
