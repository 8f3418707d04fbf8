"""What a worker shows of itself: logs, metrics, readiness."""
