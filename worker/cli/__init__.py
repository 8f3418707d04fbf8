"""Is the command line; `commands/` has a file for each command."""
