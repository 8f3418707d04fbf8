-- What `migrate --sql` prints around the migrations. In place of each word in braces stands something of this
-- package's own, or the prefix, whose characters the settings have checked.

-- name: create_schema
create schema if not exists "{schema}";

-- name: use_schema
set local search_path = {search_path};

-- name: record
insert into schema_migrations (number, name, checksum) values ({number}, '{name}', '{checksum}');

-- name: claim
insert into installation (prefix, made_by) values ('{prefix}', 'migrate');
