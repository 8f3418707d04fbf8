"""Everything that the worker says to Postgres."""
