-- Makes this month and the next two, if they are missing; returns how many it has made. A lock that somebody holds for
-- long is not waited for: it is for the next time then. What came for a month while it was missing moves into it, if that
-- is little. Who writes sessions waits meanwhile: a row that had found its way to `sessions_other` already would be
-- refused there (23514) once the month is made.
create or replace function make_session_months() returns integer language plpgsql
  security definer set search_path from current set lock_timeout = '1s' as $$
declare
  made integer := 0;
  month date;
  first_id text;
  end_id text;
  new_name text;
begin
  for month in
    select each_one::date from generate_series(
      date_trunc('month', now() at time zone 'UTC'), now() at time zone 'UTC' + interval '2 months', interval '1 month'
    ) as each_one
    where not exists (
      select from session_partitions p
      where p.first_id <= to_char(each_one, '"ts_"YYMM') and p.end_id > to_char(each_one, '"ts_"YYMM')
    )
  loop
    first_id := to_char(month, '"ts_"YYMM');
    end_id := to_char(month + interval '1 month', '"ts_"YYMM');
    new_name := to_char(month, '"sessions_"YYYY_MM');
    lock table only sessions in share row exclusive mode;
    continue when to_regclass(quote_ident(new_name)) is not null; -- somebody else has just made it
    continue when (
      select count(*) > 10000 from (
        select from sessions_other s where s.id >= first_id and s.id < end_id limit 10001
      ) as waiting
    );
    execute format('create table %I (like sessions_other including all)', new_name);
    if exists (select from sessions_other s where s.id >= first_id and s.id < end_id) then
      lock table sessions_other in access exclusive mode;
      execute format(
        'with moved as (delete from sessions_other where id >= %L and id < %L returning *) insert into %I select * from moved',
        first_id, end_id, new_name
      );
    end if;
    execute format('alter table sessions attach partition %I for values from (%L) to (%L)', new_name, first_id, end_id);
    made := made + 1;
  end loop;
  return made;
exception when lock_not_available then
  return 0;
end $$;
