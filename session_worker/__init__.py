"""What users import: `client`, `handlers`, `testing` and `schemas`.

In a checkout these modules pass on what `worker` and `schemas` have. A wheel holds both folders in here,
under private names: its users may have a `worker.py` or `schemas` of their own.
"""
