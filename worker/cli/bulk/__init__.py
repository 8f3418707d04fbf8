"""Many requests at once: read, sent, and noted so that another run can go on."""
