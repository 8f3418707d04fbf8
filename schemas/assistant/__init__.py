"""The inline assistant: what it hears and says, and all its plans.

A list of allowed values is a `TypeAliasType`: the documents then name it, and generated code has a type for
it.
"""
