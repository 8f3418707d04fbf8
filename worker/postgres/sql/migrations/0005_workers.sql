-- What a worker does with a request, so that each can see whether another one on its queue does the same.
-- Null where a worker of an older version wrote the row.
alter table workers
  add column handler       text,   -- module:function, or '' for the built-in creation
  add column handler_build text,   -- tells two versions of that module apart
  add column settings      jsonb;  -- those that all workers of one queue should agree on; no secret
