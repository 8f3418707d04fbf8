"""Does what an operator asks for; the command line and the console call it."""
