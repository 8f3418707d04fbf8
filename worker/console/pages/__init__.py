"""The console's pages, one module a page: each reads operations and renders; none changes anything on GET."""
