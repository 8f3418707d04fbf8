"""Looks for what is wrong with an installation, and says what ends it: `run` carries `checks` out."""
