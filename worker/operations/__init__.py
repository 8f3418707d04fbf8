"""What an operator does; the command line and the console call it."""
