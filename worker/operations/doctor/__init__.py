"""Looks for what is wrong with an installation, and says what ends it: `run` carries out the checks of `checks`."""
