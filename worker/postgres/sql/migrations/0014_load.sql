-- What a worker tells of itself with each beat: how many calls of its handler run, and whether they block it. Null
-- without a handler, and where a worker of an older version wrote the row.
alter table workers add column load jsonb;
