-- The room that is left on a page of `requests` for the second version of its rows: with 34 there was too much where bodies
-- are not small, and with 36 too little where they are. docs/performance.md has the figures.
alter table requests set (fillfactor = 35);
