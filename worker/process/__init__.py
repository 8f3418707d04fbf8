"""This process and its operating system."""
