-- By an administrator, before the tables are made: who makes them owns them. The first and the last line concern all roles.
revoke create on schema "public" from public;
grant create, usage on schema "public" to "migrator" with grant option; -- it lets workers in
do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$;
