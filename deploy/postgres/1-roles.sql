-- The roles of docker-compose.yml, made with the database. What the migrator may do: 2-migrator.sql; what the others may do
-- with its tables, `session-worker migrate --grant` says.
\getenv password ROLES_PASSWORD
create role migrator login password :'password';
create role worker login password :'password';
create role console login password :'password';
