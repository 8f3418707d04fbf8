-- migrate: each of these alone, before the transaction: nobody waits while an index is built. May be repeated.
-- Most producers correlate by the request's own id: such a correlation id needs no key beside that of the id. With random
-- ids its key took a page of its own for each request after a checkpoint, nearly half of what was written then.
-- A worker of before still finds requests by a correlation id, by reading all of the table, until it is replaced.
drop index concurrently if exists requests_by_other_correlation;
create index concurrently requests_by_other_correlation on requests (correlation_id text_pattern_ops)
  where correlation_id <> request_id::text;
-- migrate: one transaction
drop index requests_by_correlation;
