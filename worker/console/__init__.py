"""Shows a worker and its installation over HTTP, and does there what operators ask for."""
