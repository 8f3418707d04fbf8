"""Large and suspect messages are read in a process of their own."""
