"""The console as JSON: one module a subject."""
