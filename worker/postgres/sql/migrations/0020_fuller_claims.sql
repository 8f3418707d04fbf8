-- A claim fills its batch also where many organisations have few requests waiting each. The function alone is new.
-- Takes requests out of their lines, at most so many, into one lease of this worker's: of each line its weight's share,
-- and of each the oldest. Other workers pass by the lines that this one is looking at. Returns all that the lease holds,
-- so that it may be repeated when an answer was lost.
-- Each statement sees what was committed before it began, and not only before this function did: the locks come first.
-- Once it has locked a line it waits for nobody any more, so that nobody waits in a circle.
create or replace function claim_waiting(claimer uuid, claim bigint, lease_seconds double precision, most integer)
  returns setof requests language plpgsql
  set search_path from current as $$
declare
  room integer := most;
  settled boolean; -- nobody is changing the rules at this moment: only then a line is laid to rest by them
  whole limits_in_force%rowtype;
  whole_full_at timestamptz;
  chosen text[];
  emptied text[];
  taken integer;
  next_org text;
  to_take integer := 0; -- of the chosen lines, some of each
begin
  perform 1 from leases where id = claim and worker is distinct from claimer;
  if found then
    return;  -- taken over by another worker
  end if;
  select most - count(*) into room from requests where lease = claim and published_at is null;
  if room < most then
    return query select * from requests where lease = claim and published_at is null;
    return;  -- claimed before, by a try whose answer was lost
  end if;
  settled := pg_try_advisory_xact_lock_shared('rules'::regclass::oid::bigint);
  if exists (select from pauses where scope = 'all' and coalesce(ends_at > now(), true)) then
    return;
  end if;
  select * into whole from limits_in_force where scope = 'all';
  if whole.running is not null then
    -- One worker counts and takes at a time.
    perform 1 from rules for no key update;
    room := least(room, whole.running - (select count(*) from requests where runs_in is not null));
  end if;
  if whole.rate is not null then
    if not settled then
      return;
    end if;
    select full_at into whole_full_at from rules for no key update;
    room := least(room, tokens(whole.rate, whole.burst, whole_full_at));
  end if;
  if room <= 0 then
    return;
  end if;
  update lines set
    asleep_until = null, asleep_for = null,
    -- What it had before it slept is forgotten: it neither loses nor gains by that.
    pass = coalesce((select min(pass) from lines where asleep_until is null), pass)
  where org_id in (
    select l.org_id from lines l
    where l.asleep_until <= now() order by l.asleep_until limit 1000 for no key update skip locked
  );
  -- Those that had as many running as they may, and have fewer now.
  update lines set asleep_until = null, asleep_for = null
  where org_id in (
    select l.org_id from lines l cross join lateral limit_of(l.org_id) as of_it
    where l.asleep_for = 'running'
      and coalesce(of_it.running > (select count(*) from requests r where r.runs_in = l.org_id), true)
    limit 1000 for no key update of l skip locked
  );
  -- Of the lines that no other worker is looking at, those that have had least; but none that is far ahead of others.
  -- A line costs more than a request, so some requests are taken of each: as many lines as fill the room that way. Where
  -- each is short that is more of them, or else many short lines would make many small batches.
  for next_org in
    select org_id from lines
    where asleep_until is null and pass <= room + 8 + (select min(pass) from lines where asleep_until is null)
    order by pass for no key update skip locked
  loop
    chosen := chosen || next_org;
    to_take := to_take + (
      select count(*) from (
        select from requests r where r.waits_in = next_org and r.begins_at <= now() limit 4
      ) as first_ones
    );
    exit when cardinality(chosen) >= 4 and to_take >= room or cardinality(chosen) >= greatest(4, room);
  end loop;
  if chosen is null then
    return;
  end if;
  with line as (
    select
      l.org_id, l.pass, place.position, of_it.weight, of_it.running, of_it.rate, of_it.burst, l.full_at,
      case
        when paused.name is not null or (of_it.rate is not null and not settled) then 0
        else least(
          ceil(room * of_it.weight / sum(of_it.weight) over ()),
          of_it.running - case
            when of_it.running is not null then (select count(*) from requests r where r.runs_in = l.org_id)
          end,
          case when of_it.rate is not null then tokens(of_it.rate, of_it.burst, l.full_at) end
        )::integer
      end as allowed
    from unnest(chosen) with ordinality as place (org_id, position)
    join lines l on l.org_id = place.org_id
    cross join lateral limit_of(l.org_id) as of_it
    left join pauses paused on paused.scope = 'org' and paused.name = l.org_id
      and coalesce(paused.ends_at > now(), true)
  ), picked as (
    select line.org_id, line.weight, line.rate, next.request_id, line.running is not null as counted
    from line cross join lateral (
      select r.request_id from requests r
      where r.waits_in = line.org_id and r.begins_at <= now()
      order by r.begins_at limit greatest(line.allowed, 0) for update skip locked
    ) as next
    order by line.position limit room
  ), mine as (
    -- Not if it was taken over in this moment.
    insert into leases (id, worker, lease_until)
    select claim, claimer, now() + make_interval(secs => lease_seconds) where exists (select from picked)
    on conflict (id) do update set lease_until = excluded.lease_until where leases.worker = excluded.worker
    returning id
  ), counts as (
    select org_id, weight, rate, count(*) as number from picked, mine group by org_id, weight, rate
  ), charged as (
    update lines set
      pass = lines.pass + counts.number / counts.weight,
      full_at = case
        when counts.rate is not null then
          greatest(lines.full_at, now()) + make_interval(secs => counts.number / counts.rate)
      end
    from counts where lines.org_id = counts.org_id
  ), begun as (
    update requests set
      status = 'processing', lease = mine.id, waits_in = null, waits_for = null, due_at = null,
      attempt = case requests.status when 'pending' then 1 else requests.attempt end,
      worker = case requests.status when 'pending' then claimer else requests.worker end,
      started_at = coalesce(requests.started_at, now()),
      runs_in = case when picked.counted or whole.running is not null then picked.org_id end
    from picked, mine where requests.request_id = picked.request_id
    returning requests.request_id
  )
  select count(*) into taken from begun;
  if whole.rate is not null and taken > 0 then
    update rules set full_at = greatest(full_at, now()) + make_interval(secs => taken / whole.rate);
  end if;

  -- Lines that cannot go on are laid to rest; nobody is looking for them until it is their time.
  if settled and (exists (select from limits) or exists (select from pauses)) then
    with stopped as (
      select l.org_id, l.full_at, of_it.rate, coalesce(of_it.burst, ceil(of_it.rate)) as burst, paused.ends_at,
        case
          when paused.name is not null then 'paused'
          when of_it.running <= (select count(*) from requests r where r.runs_in = l.org_id) then 'running'
          when of_it.rate is not null and tokens(of_it.rate, of_it.burst, l.full_at) < 1 then 'rate'
        end as why
      from lines l
      cross join lateral limit_of(l.org_id) as of_it
      left join pauses paused on paused.scope = 'org' and paused.name = l.org_id
        and coalesce(paused.ends_at > now(), true)
      where l.org_id = any (chosen)
    )
    update lines set asleep_for = stopped.why, asleep_until = case stopped.why
      when 'paused' then coalesce(stopped.ends_at, 'infinity')
      when 'running' then now() + interval '1 second' -- or as soon as a worker that has finished one looks
      when 'rate' then stopped.full_at - make_interval(secs => (stopped.burst - 1) / stopped.rate)
    end
    from stopped where lines.org_id = stopped.org_id and stopped.why is not null;
  end if;
  select array_agg(org_id) into emptied from (
    select l.org_id from lines l
    where l.org_id = any (chosen) and l.asleep_until is null and not exists (
      select from requests r where r.waits_in = l.org_id and r.begins_at <= now()
    ) for update skip locked
  ) as without_any;
  -- Seen anew, now that nobody is about to join them.
  with next as (
    select this.org_id, (
      select min(r.begins_at) from requests r where r.waits_in = this.org_id
    ) as begins_at
    from unnest(emptied) as this (org_id)
  ), gone as (
    delete from lines using next
    where lines.org_id = next.org_id and next.begins_at is null and coalesce(lines.full_at <= now(), true)
  )
  update lines set
    asleep_for = 'not_before', asleep_until = coalesce(next.begins_at, lines.full_at)
  from next
  where lines.org_id = next.org_id and coalesce(next.begins_at, lines.full_at) > now();
  return query select * from requests where lease = claim and published_at is null;
end $$;
