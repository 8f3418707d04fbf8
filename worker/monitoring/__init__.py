"""Shows how a worker is: logs, metrics, readiness."""
