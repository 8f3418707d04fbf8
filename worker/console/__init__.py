"""Shows a worker over HTTP."""
