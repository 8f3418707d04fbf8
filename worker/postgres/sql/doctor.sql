-- What the checks of worker/operations/doctor ask, a section for each of its parts. They only look.

-- Of the server.

-- Of the tables.

-- Of requests.

-- Of workers, settings and keys.
