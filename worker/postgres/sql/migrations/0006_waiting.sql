-- migrate: each of these alone, before the transaction: nobody waits while an index is built. May be repeated.
-- A request that may not begin yet waits in the line of its organisation. All of this is null on a request's normal
-- way, so that the indexes are empty there and cost nothing.
-- waits_in: the organisation whose line it waits in, '' for none; waits_for: why it was put there.
-- begins_at: not before this time; it orders the line. Kept when the request begins.
-- runs_in: the organisation, while it runs and a limit counts it.
-- due_at, which a put-off request has, is the deadline of one that waits: it is answered then.
alter table requests
  add column if not exists waits_in text,
  add column if not exists waits_for text,
  add column if not exists begins_at timestamptz,
  add column if not exists runs_in text;
drop index concurrently if exists requests_in_line;
create index concurrently requests_in_line on requests (waits_in, begins_at) include (waits_for)
  where waits_in is not null;
drop index concurrently if exists requests_counted;
create index concurrently requests_counted on requests (runs_in) where runs_in is not null;
-- migrate: one transaction
alter table requests
  add constraint waits_for_a_reason check (
    (waits_in is null) = (waits_for is null)
    and waits_for in ('paused', 'over_share', 'rate', 'not_before', 'breaker')
  ) not valid,
  add constraint waits_unfinished check (waits_in is null or (finished_at is null and lease is null)) not valid,
  add constraint waits_in_order check (waits_in is null or begins_at is not null) not valid,
  add constraint runs_under_a_lease check (runs_in is null or (finished_at is null and lease is not null)) not valid;

-- As it was, and when one began, or could have, is no different later either.
drop trigger requests_edge on requests;
create trigger requests_edge before update of
  request_id, status, attempt, org_id, user_id, fingerprint, body, refusal, session_id, response, error_code,
  reply_to, correlation_id, traceparent, worker, deadline_at, received_at, started_at, finished_at,
  waits_in, waits_for, begins_at, runs_in
  on requests for each row
  when (
    new.request_id <> old.request_id or new.session_id <> old.session_id
    or new.fingerprint <> old.fingerprint or new.received_at <> old.received_at
    or (
      old.finished_at is not null
      and (
        old.status, old.attempt, old.org_id, old.user_id, old.body, old.refusal, old.response, old.error_code,
        old.reply_to, old.correlation_id, old.traceparent, old.worker, old.deadline_at, old.started_at, old.finished_at,
        old.waits_in, old.waits_for, old.begins_at, old.runs_in
      ) is distinct from (
        new.status, new.attempt, new.org_id, new.user_id, new.body, new.refusal, new.response, new.error_code,
        new.reply_to, new.correlation_id, new.traceparent, new.worker, new.deadline_at, new.started_at, new.finished_at,
        new.waits_in, new.waits_for, new.begins_at, new.runs_in
      )
    )
    or not (
      (new.status = old.status and new.attempt = old.attempt)
      or (old.status = 'pending' and new.status = 'processing' and new.attempt = 1)
      or (old.status = 'processing' and new.status = 'processing' and new.attempt = old.attempt + 1)
      or (old.status = 'processing' and new.status in ('completed', 'failed') and new.attempt = old.attempt)
    )
  )
  execute function refuse_request_change();

-- Lines. One row for each organisation that has something waiting.
-- pass: the share that it has had. The line with the smallest is next, and what is taken from it counts by its weight.
create table lines (
  org_id       text primary key,
  pass         double precision not null default 0,
  asleep_until timestamptz,  -- nothing of it may begin before this; null: something may
  asleep_for   text check (asleep_for in ('not_before', 'rate', 'running', 'paused')),
  full_at      timestamptz,  -- where its rate is limited: when it could begin a whole burst again
  constraint asleep_for_a_reason check ((asleep_until is null) = (asleep_for is null))
);
create index lines_awake on lines (pass) where asleep_until is null;
create index lines_asleep on lines (asleep_until) where asleep_until is not null;
create index lines_at_their_limit on lines (org_id) where asleep_for = 'running';

-- What people have decided. `source`: a worker's setting, or a command, which counts before it.
create table limits (
  scope   text not null check (scope in ('all', 'each', 'org')),
  name    text not null default '',
  source  text not null check (source in ('setting', 'command')),
  running integer check (running > 0),
  rate    double precision check (rate between 0.001 and 1000000), -- requests a second
  burst   integer check (burst > 0),
  weight  double precision check (weight between 0.001 and 1000000),
  reason  text,
  set_by  text not null,
  set_at  timestamptz not null default now(),
  primary key (scope, name, source),
  constraint named_when_of_one check ((scope = 'org') = (name <> '')),
  constraint burst_of_a_rate check (burst is null or rate is not null),
  constraint says_something check (num_nonnulls(running, rate, weight) > 0)
);
create view limits_in_force as
  select distinct on (scope, name) scope, name, source, running, rate, burst, weight, reason, set_by, set_at
  from limits order by scope, name, source;

create table pauses (
  scope     text not null check (scope in ('all', 'org', 'worker')),
  name      text not null default '', -- the organisation, or the id of the worker
  reason    text not null,
  paused_by text not null,
  paused_at timestamptz not null default now(),
  ends_at   timestamptz,
  primary key (scope, name),
  constraint named_unless_all check ((scope = 'all') = (name = ''))
);

-- Raised with every change of limits or pauses, in the transaction of the change: so each worker notices it.
create table rules (
  only_one boolean primary key default true check (only_one),
  version  bigint not null default 1,
  full_at  timestamptz -- as that of a line, for the rate of all together
);
insert into rules default values;

-- One change at a time, and none while a worker lays lines to rest by the rules that were: `claim_waiting` has the
-- other half of this lock. It is taken first, before any row is.
create function take_turn_with_rules() returns trigger language plpgsql
  security definer set search_path from current as $$
begin
  perform pg_advisory_xact_lock('rules'::regclass::oid::bigint);
  return null;
end $$;
revoke execute on function take_turn_with_rules from public;
create trigger limits_change before insert or update or delete on limits for each statement
  execute function take_turn_with_rules();
create trigger pauses_change before insert or update or delete on pauses for each statement
  execute function take_turn_with_rules();

-- The lines that they hold back are looked at anew. What a rate that was lower before makes them wait is forgotten, but
-- for as long as an empty burst needs now.
create function raise_rules_version() returns trigger language plpgsql
  security definer set search_path from current as $$
begin
  update lines set
    asleep_until = case when lines.asleep_for = 'not_before' then lines.asleep_until end,
    asleep_for = case when lines.asleep_for = 'not_before' then lines.asleep_for end,
    full_at = case
      when lines.full_at > now() then least(lines.full_at, now() + make_interval(secs => held_back.seconds))
    end
  from (
    select l.org_id, coalesce(of_it.burst, ceil(of_it.rate)) / of_it.rate as seconds
    from lines l cross join lateral limit_of(l.org_id) as of_it
    where l.asleep_for in ('paused', 'rate', 'running') or l.full_at > now()
    order by l.org_id for no key update of l
  ) as held_back
  where lines.org_id = held_back.org_id;
  update rules set
    version = version + 1,
    full_at = case
      when full_at > now() then least(full_at, now() + make_interval(secs => (
        select coalesce(burst, ceil(rate)) / rate from limits_in_force where scope = 'all'
      )))
    end;
  return null;
end $$;
revoke execute on function raise_rules_version from public;
create trigger limits_changed after insert or update or delete on limits for each statement
  execute function raise_rules_version();
create trigger pauses_changed after insert or update or delete on pauses for each statement
  execute function raise_rules_version();

-- What waits, and why, as people see it.
create view waiting_requests as
  select
    r.request_id, r.org_id, r.status, r.begins_at, r.deadline_at, r.received_at,
    case
      when a.scope is not null or o.scope is not null then 'paused'
      when r.waits_for = 'not_before' and r.begins_at <= now() then 'over_share'
      when r.waits_for = 'paused' then 'over_share'
      else r.waits_for
    end as reason,
    case
      when (a.scope is not null and a.ends_at is null) or (o.scope is not null and o.ends_at is null) then null
      when a.scope is not null or o.scope is not null or r.begins_at > now() then
        greatest(a.ends_at, o.ends_at, r.begins_at)
      when l.asleep_for = 'rate' then l.asleep_until
    end as until,
    coalesce(a.reason, o.reason) as pause_reason,
    coalesce(a.paused_by, o.paused_by) as paused_by
  from requests r
  left join pauses a on a.scope = 'all' and coalesce(a.ends_at > now(), true)
  left join pauses o on o.scope = 'org' and o.name = r.waits_in and coalesce(o.ends_at > now(), true)
  left join lines l on l.org_id = r.waits_in
  where r.waits_in is not null;

-- Makes sure that each of these lines is there, and awake when the first of its requests may begin.
-- Whoever puts requests in line holds a lock of the weakest kind on it until his commit. Whoever finds a line empty,
-- and lays it to rest, needs the strongest, and passes it by while he cannot have it: so nobody is overlooked.
-- What is locked is read again by a later statement: a lock of the weakest kind may show what was before the last change.
create function join_lines(orgs text[], begins timestamptz[]) returns void language plpgsql
  set search_path from current as $$
declare
  locked text[];
begin
  select array_agg(org_id) into locked from (
    select l.org_id from lines l where l.org_id = any (orgs) order by l.org_id for key share
  ) as there;
  with wanted as (
    select org_id, min(begins_at) as first_at from unnest(orgs, begins) as given (org_id, begins_at) group by org_id
  ), awake as (
    select l.org_id from lines l join wanted using (org_id)
    where l.org_id = any (locked)
      and (l.asleep_until is null or l.asleep_for <> 'not_before' or l.asleep_until <= wanted.first_at)
  )
  insert into lines (org_id, pass, asleep_until, asleep_for)
  select
    org_id, coalesce((select min(pass) from lines where asleep_until is null), 0),
    case when first_at > now() then first_at end, case when first_at > now() then 'not_before' end
  from wanted where org_id not in (select org_id from awake)
  order by org_id
  on conflict (org_id) do update set
    asleep_until = excluded.asleep_until, asleep_for = excluded.asleep_for,
    pass = case when excluded.asleep_until is null then excluded.pass else lines.pass end
  where lines.asleep_for = 'not_before' and lines.asleep_until > coalesce(excluded.asleep_until, '-infinity');
end $$;

-- The limits that count for an organisation: its own, and for what they leave open those of each.
create function limit_of(org text)
  returns table (running integer, rate double precision, burst integer, weight double precision)
  language sql stable as $$
  select
    coalesce(own.running, of_each.running),
    coalesce(own.rate, of_each.rate),
    case when own.rate is not null then own.burst else of_each.burst end,
    coalesce(own.weight, of_each.weight, 1)
  from (select) as one
  left join limits_in_force own on own.scope = 'org' and own.name = org
  left join limits_in_force of_each on of_each.scope = 'each'
$$;

-- Why a request of this organisation may not begin now without further ado; null: it may.
create function why_waiting(org text) returns text language sql stable as $$
  select case
    when exists (
      select from pauses p
      where (p.scope = 'all' or (p.scope = 'org' and p.name = coalesce(org, ''))) and coalesce(p.ends_at > now(), true)
    ) then 'paused'
    when exists (select from limits_in_force l where l.scope = 'all' and l.rate is not null) then 'rate'
    when exists (select from limits_in_force l where l.scope = 'all' and l.running is not null) then 'over_share'
    else (
      select case when own.rate is not null then 'rate' when own.running is not null then 'over_share' end
      from limit_of(coalesce(org, '')) as own
    )
  end
$$;

-- How many may begin now where so many a second may: a whole burst at `full_at` or later, and fewer before it.
create function tokens(rate double precision, burst integer, full_at timestamptz) returns integer
  language sql stable as $$
  select floor(1e-6 + most - greatest(0, coalesce(extract(epoch from full_at - now()), 0) * rate))::integer
  from (select coalesce(burst, ceil(rate)) as most) as bucket
$$;

-- Takes requests out of their lines, at most so many, into one lease of this worker's: of each line its weight's share,
-- and of each the oldest. Other workers pass by the lines that this one is looking at. Returns all that the lease holds,
-- so that it may be repeated when an answer was lost.
-- Each statement sees what was committed before it began, and not only before this function did: the locks come first.
-- Once it has locked a line it waits for nobody any more, so that nobody waits in a circle.
create function claim_waiting(claimer uuid, claim bigint, lease_seconds double precision, most integer)
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
  -- A line costs more than a request, so some requests are taken of each.
  select array_agg(org_id order by pass) into chosen from (
    select org_id, pass from lines
    where asleep_until is null and pass <= room + 8 + (select min(pass) from lines where asleep_until is null)
    order by pass limit greatest(4, (room + 3) / 4) for no key update skip locked
  ) as next;
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
