-- name: cursor_make
-- The cursor of a stream that nobody has drained yet.
insert into drain_cursors (shard, stream) values ($1, $2)
on conflict do nothing

-- name: cursor_read
-- Where the drain stands.
select life, last_id, number from drain_cursors where shard = $1 and stream = $2

-- name: cursor_move
-- Compare-and-set, the first statement of a batch: $3, $4, $12 as read, $5 to $7 as they become. Empty: another drain
-- did it.
update drain_cursors
   set life = $5, last_id = $6, number = $7, reached_at = from_ms($8), lag_ms = $9, entries = entries + $10,
       thinned = thinned + $11, updated_at = clock_timestamp()
 where shard = $1 and stream = $2 and life = $3 and last_id = $4 and number = $12
returning true

-- name: cursor_count
-- Adds what the batch wrote, in its transaction.
update drain_cursors set rows = rows + $3, refused = refused + $4 where shard = $1 and stream = $2

-- name: refuse
-- A row that PostgreSQL would not take, once.
insert into dead_letters (shard, life, stream, entry_id, item, target, sqlstate, reason, content)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (shard, life, stream, entry_id, item) do nothing

-- name: columns
-- The columns of a table that are written, not computed.
select string_agg(quote_ident(attname), ', ' order by attnum)
  from pg_attribute
 where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''

-- name: again
-- A row that a table holds, put once more: all that may refuse it is asked, and it collides with itself.
with one as (select {columns} from {table} limit 1), put as (
  insert into {table} ({columns}) select {columns} from one on conflict do nothing
)
select from one

-- name: partitions
-- Makes the days of a batch of fixes.
select ensure_location_partitions($1, $2)

-- name: fixes_staging
-- For fixes of which some exist already: COPY cannot skip them, INSERT can.
create temp table if not exists fixes_staging (driver_id uuid, ts timestamptz, seq bigint, location geometry,
  heading real, speed real, accuracy real, job_id uuid) on commit drop

-- name: fixes_from_staging
-- The rows that are new.
with taken as (delete from fixes_staging returning *)
insert into locations (driver_id, ts, seq, location, heading, speed, accuracy, job_id)
select driver_id, ts, seq, location, heading, speed, accuracy, job_id from taken
on conflict do nothing

-- name: drivers
-- Whoever carries jobs out, as the newest commit left him.
insert into drivers (id, shard, name, state, area_id, classes, capacity, vehicle_id, vehicle, offer_id, job_ids,
                     changed_at, version, life, committed_at)
select id, shard, name, state, area_id, classes, capacity, vehicle_id, vehicle, offer_id, job_ids,
       from_ms(changed_ms), version, life, from_ms(committed_ms)
  from json_to_recordset($1) as r (
    id uuid, shard text, name text, state text, area_id text, classes text[], capacity integer,
    vehicle_id text, vehicle text, offer_id text, job_ids uuid[], changed_ms bigint, version bigint,
    life text, committed_ms bigint)
on conflict (id) do update set
  (shard, name, state, area_id, classes, capacity, vehicle_id, vehicle, offer_id, job_ids, changed_at,
   version, life, committed_at)
  = (excluded.shard, excluded.name, excluded.state, excluded.area_id, excluded.classes, excluded.capacity,
     excluded.vehicle_id, excluded.vehicle, excluded.offer_id, excluded.job_ids, excluded.changed_at,
     excluded.version, excluded.life, excluded.committed_at)
where drivers.version < excluded.version
   or (drivers.life <> excluded.life and drivers.committed_at < excluded.committed_at)

-- name: offers
-- Offers, as the newest commit left them.
insert into offers (id, shard, job_id, kind, driver_id, state, made_at, deadline_at, seen_at, ended_at, distance_m,
                    eta_s, reason, version, life, committed_at)
select id, shard, job_id, kind, driver_id, state, from_ms(made_ms), from_ms(deadline_ms), from_ms(seen_ms),
       from_ms(ended_ms), distance_m, eta_s, reason, version, life, from_ms(committed_ms)
  from json_to_recordset($1) as r (
    id text, shard text, job_id uuid, kind text, driver_id uuid, state text, made_ms bigint,
    deadline_ms bigint, seen_ms bigint, ended_ms bigint, distance_m float8, eta_s float8, reason text,
    version bigint, life text, committed_ms bigint)
-- Another life may have forgotten an offer and made another of its number, to somebody else.
on conflict (id) do update set
  (driver_id, state, made_at, deadline_at, seen_at, ended_at, distance_m, eta_s, reason, version, life, committed_at)
  = (excluded.driver_id, excluded.state, excluded.made_at, excluded.deadline_at, excluded.seen_at,
     excluded.ended_at, excluded.distance_m, excluded.eta_s, excluded.reason,
     excluded.version, excluded.life, excluded.committed_at)
where offers.version < excluded.version
   or (offers.life <> excluded.life and offers.committed_at < excluded.committed_at)

-- name: rides
-- Rides, as the newest commit left them.
insert into rides (id, shard, state, passenger_id, passenger_name, driver_id, driver_name, vehicle_id, vehicle,
  area_id, vehicle_class, pickup, pickup_address, dropoff, dropoff_address, stops, units, seats, note,
  fare_minor, currency, distance_m, duration_s, offer_id, offers, excluded, created_at, scheduled_at,
  searching_at, assigned_at, arrived_at, started_at, ended_at, reason, ended_by, needs_person, version, life,
  committed_at)
select id, shard, state, requester_id, requester_name, driver_id, driver_name, vehicle_id, vehicle,
       area_id, vehicle_class, place_point(pickup), coalesce(pickup ->> 'address', ''), place_point(dropoff),
       coalesce(dropoff ->> 'address', ''), stops, units, seats, note, fare_minor, currency, distance_m,
       duration_s, offer_id, offers, excluded, from_ms(created_ms), from_ms(scheduled_ms),
       from_ms(searching_ms), from_ms(assigned_ms), from_ms(arrived_ms), from_ms(started_ms),
       from_ms(ended_ms), reason, ended_by, needs_person, version, life, from_ms(committed_ms)
  from json_to_recordset($1) as r (
    id uuid, shard text, state text, requester_id uuid, requester_name text, driver_id uuid,
    driver_name text, vehicle_id text, vehicle text, area_id text, vehicle_class text, pickup jsonb,
    dropoff jsonb, stops jsonb, units integer, seats integer, note text, fare_minor bigint, currency text,
    distance_m float8, duration_s float8, offer_id text, offers integer, excluded uuid[], created_ms bigint,
    scheduled_ms bigint, searching_ms bigint, assigned_ms bigint, arrived_ms bigint, started_ms bigint,
    ended_ms bigint, reason text, ended_by uuid, needs_person text, version bigint, life text,
    committed_ms bigint)
on conflict (id) do update set
  (shard, state, driver_id, driver_name, vehicle_id, vehicle, area_id, vehicle_class, pickup, pickup_address,
   dropoff, dropoff_address, stops, units, seats, note, fare_minor, currency, distance_m, duration_s, offer_id,
   offers, excluded, scheduled_at, searching_at, assigned_at, arrived_at, started_at, ended_at, reason,
   ended_by, needs_person, version, life, committed_at)
  = (excluded.shard, excluded.state, excluded.driver_id, excluded.driver_name, excluded.vehicle_id,
     excluded.vehicle, excluded.area_id, excluded.vehicle_class, excluded.pickup, excluded.pickup_address,
     excluded.dropoff, excluded.dropoff_address, excluded.stops, excluded.units, excluded.seats,
     excluded.note, excluded.fare_minor, excluded.currency, excluded.distance_m, excluded.duration_s,
     excluded.offer_id, excluded.offers, excluded.excluded, excluded.scheduled_at, excluded.searching_at,
     excluded.assigned_at, excluded.arrived_at, excluded.started_at, excluded.ended_at, excluded.reason,
     excluded.ended_by, excluded.needs_person, excluded.version, excluded.life, excluded.committed_at)
where rides.passenger_id = excluded.passenger_id  -- the sink refuses others by name
  and (rides.version < excluded.version
   or (rides.life <> excluded.life and rides.committed_at < excluded.committed_at))

-- name: packages
-- Packages, as the newest commit left them.
insert into packages (id, shard, state, sender_id, sender_name, courier_id, courier_name, vehicle_id, vehicle,
  area_id, vehicle_class, pickup, pickup_address, dropoff, dropoff_address, stops, units, note, size, weight_kg,
  fragile, tier, recipient_name, recipient_phone, fare_minor, currency, distance_m, duration_s, offer_id,
  offers, excluded, created_at, scheduled_at, searching_at, assigned_at, arrived_at, started_at, ended_at,
  reason, ended_by, needs_person, version, life, committed_at)
select id, shard, state, requester_id, requester_name, driver_id, driver_name, vehicle_id, vehicle,
       area_id, vehicle_class, place_point(pickup), coalesce(pickup ->> 'address', ''), place_point(dropoff),
       coalesce(dropoff ->> 'address', ''), stops, units, note, parcel ->> 'size',
       coalesce((parcel ->> 'weight_kg')::float8, 0), coalesce((parcel ->> 'fragile')::boolean, false),
       coalesce(parcel ->> 'tier', 'standard'), coalesce(parcel ->> 'recipient_name', ''),
       coalesce(parcel ->> 'recipient_phone', ''), fare_minor, currency, distance_m,
       duration_s, offer_id, offers, excluded, from_ms(created_ms), from_ms(scheduled_ms),
       from_ms(searching_ms), from_ms(assigned_ms), from_ms(arrived_ms), from_ms(started_ms),
       from_ms(ended_ms), reason, ended_by, needs_person, version, life, from_ms(committed_ms)
  from json_to_recordset($1) as r (
    id uuid, shard text, state text, requester_id uuid, requester_name text, driver_id uuid,
    driver_name text, vehicle_id text, vehicle text, area_id text, vehicle_class text, pickup jsonb,
    dropoff jsonb, stops jsonb, units integer, note text, parcel jsonb, fare_minor bigint, currency text,
    distance_m float8, duration_s float8, offer_id text, offers integer, excluded uuid[], created_ms bigint,
    scheduled_ms bigint, searching_ms bigint, assigned_ms bigint, arrived_ms bigint, started_ms bigint,
    ended_ms bigint, reason text, ended_by uuid, needs_person text, version bigint, life text,
    committed_ms bigint)
on conflict (id) do update set
  (shard, state, courier_id, courier_name, vehicle_id, vehicle, area_id, vehicle_class, pickup, pickup_address,
   dropoff, dropoff_address, stops, units, note, size, weight_kg, fragile, tier, recipient_name,
   recipient_phone, fare_minor, currency, distance_m, duration_s, offer_id, offers, excluded, scheduled_at,
   searching_at, assigned_at, arrived_at, started_at, ended_at, reason, ended_by, needs_person, version, life,
   committed_at)
  = (excluded.shard, excluded.state, excluded.courier_id, excluded.courier_name, excluded.vehicle_id,
     excluded.vehicle, excluded.area_id, excluded.vehicle_class, excluded.pickup, excluded.pickup_address,
     excluded.dropoff, excluded.dropoff_address, excluded.stops, excluded.units, excluded.note,
     excluded.size, excluded.weight_kg, excluded.fragile, excluded.tier, excluded.recipient_name,
     excluded.recipient_phone, excluded.fare_minor, excluded.currency, excluded.distance_m,
     excluded.duration_s, excluded.offer_id, excluded.offers, excluded.excluded, excluded.scheduled_at,
     excluded.searching_at, excluded.assigned_at, excluded.arrived_at, excluded.started_at,
     excluded.ended_at, excluded.reason, excluded.ended_by, excluded.needs_person, excluded.version,
     excluded.life, excluded.committed_at)
where packages.sender_id = excluded.sender_id
  and (packages.version < excluded.version
   or (packages.life <> excluded.life and packages.committed_at < excluded.committed_at))

-- name: owners
-- Whose the jobs of these ids are, as they stand here before a batch, and when they ended.
select id, 'ride' as kind, passenger_id as requester_id, ended_at from rides where id = any ($1)
union all
select id, 'package', sender_id, ended_at from packages where id = any ($1)

-- name: ride_events
-- What was said about rides; said again under the same number it is the same.
insert into ride_events (room, epoch, seq, job_id, event, payload, by_user, at)
select room, epoch, seq, job_id, event, payload, by_user, from_ms(at_ms)
  from json_to_recordset($1) as r (
    room text, epoch text, seq bigint, job_id uuid, event text, payload jsonb, by_user text, at_ms bigint)
on conflict do nothing

-- name: package_events
-- What was said about packages.
insert into package_events (room, epoch, seq, job_id, event, payload, by_user, at)
select room, epoch, seq, job_id, event, payload, by_user, from_ms(at_ms)
  from json_to_recordset($1) as r (
    room text, epoch text, seq bigint, job_id uuid, event text, payload jsonb, by_user text, at_ms bigint)
on conflict do nothing

-- name: chat_messages
-- Chat lines.
insert into chat_messages (job_id, id, kind, sender_id, sender_name, type, text, sent_at)
select job_id, id, kind, sender_id, sender_name, type, text, from_ms(sent_ms)
  from json_to_recordset($1) as r (
    job_id uuid, id uuid, kind text, sender_id uuid, sender_name text, type text, text text, sent_ms bigint)
on conflict do nothing

-- name: chat_reads
-- How far each reader has read, in the order of the messages: a late word of an earlier one moves nothing back.
insert into chat_reads (job_id, reader_id, message_id, read_at)
select distinct on (r.job_id, r.reader_id) r.job_id, r.reader_id, r.message_id, from_ms(r.read_ms)
  from json_to_recordset($1) as r (job_id uuid, reader_id uuid, message_id uuid, read_ms bigint)
  left join chat_messages m on m.job_id = r.job_id and m.id = r.message_id
 order by r.job_id, r.reader_id, m.sent_at desc nulls last, m.id desc nulls last, r.read_ms
on conflict (job_id, reader_id) do update
   set message_id = excluded.message_id, read_at = excluded.read_at
 where exists (select from chat_messages later
                 left join chat_messages known on known.job_id = later.job_id and known.id = chat_reads.message_id
                where later.job_id = excluded.job_id and later.id = excluded.message_id
                  and (known.id is null or (later.sent_at, later.id) > (known.sent_at, known.id)))

-- name: audit_log
-- What admins did to live jobs, once.
insert into audit_log (id, at, actor_id, action, subject_type, subject_id, details)
select id, from_ms(at_ms), actor_id, action, subject_type, subject_id, details
  from json_to_recordset($1) as r (id uuid, at_ms bigint, actor_id uuid, action text, subject_type text,
    subject_id text, details jsonb)
on conflict (id) do nothing

-- name: decisions
-- What the match decided, once, with a row for each driver whom it looked at.
with r as (
  select * from json_to_recordset($1) as r (
    id text, shard text, job_id uuid, kind text, vehicle_class text, area_id text, policy integer, path text,
    driver_id uuid, considered jsonb, more integer, shadow integer, shadow_driver_id uuid, at_ms bigint)
), added as (
  insert into decisions (id, shard, job_id, kind, vehicle_class, area_id, policy, path, driver_id, more, shadow,
                         shadow_driver_id, at)
  select id, shard, job_id, kind, vehicle_class, area_id, policy, path, driver_id, more, nullif(shadow, 0),
         shadow_driver_id, from_ms(at_ms)
    from r
  on conflict do nothing
  returning id, at
), looked_at as (
  insert into decision_drivers (decision_id, driver_id, at, rank, reason, distance_m, eta_s, cost_s, shadow_s)
  select id, (c ->> 0)::uuid, added.at, rank, c ->> 1, (c ->> 2)::integer, (c ->> 3)::integer, (c ->> 4)::integer,
         (c ->> 5)::integer
    from added join r using (id), jsonb_array_elements(r.considered) with ordinality as e (c, rank)
)
select id from added

-- name: forget_decisions
-- Those that are older than $1 days, the oldest first, at most $2.
with old as (
  select id from decisions where at < now() - make_interval(secs => 86400 * $1::float8) order by at limit $2
), drivers as (
  delete from decision_drivers using old where decision_id = old.id
)
delete from decisions using old where decisions.id = old.id

-- name: routes_of_rides
-- Draws finished rides ($3 at most) once the fixes stream was drained $2 s beyond their end. Late fixes of a phone
-- carry its own time, so the window is wider than the ride; job_id says which of them count. $4: only of this one.
with ready as (
  select r.id, r.driver_id, coalesce(r.assigned_at, r.created_at) as began_at, r.ended_at
    from rides r join drain_cursors c on c.shard = r.shard and c.stream = 'fixes'
   where r.shard = $1 and r.route_at is null and r.ended_at is not null
     and r.ended_at < c.reached_at - make_interval(secs => $2)
     and ($4::uuid is null or r.id = $4)
   order by r.ended_at limit $3 for update of r skip locked
), lines as (
  select ready.id, count(*) as points, ST_MakeLine(l.location order by l.ts, l.seq) as line
    from ready join locations l
      on l.driver_id = ready.driver_id and l.job_id = ready.id
     and l.ts between ready.began_at - interval '5 minutes' and ready.ended_at + interval '5 minutes'
   group by ready.id
)
update rides
   set route = case when lines.points > 1 then lines.line::geography end,
       route_points = coalesce(lines.points, 0), route_at = clock_timestamp()
  from ready left join lines using (id)
 where rides.id = ready.id

-- name: routes_of_packages
-- As routes_of_rides.
with ready as (
  select p.id, p.courier_id, coalesce(p.assigned_at, p.created_at) as began_at, p.ended_at
    from packages p join drain_cursors c on c.shard = p.shard and c.stream = 'fixes'
   where p.shard = $1 and p.route_at is null and p.ended_at is not null
     and p.ended_at < c.reached_at - make_interval(secs => $2)
     and ($4::uuid is null or p.id = $4)
   order by p.ended_at limit $3 for update of p skip locked
), lines as (
  select ready.id, count(*) as points, ST_MakeLine(l.location order by l.ts, l.seq) as line
    from ready join locations l
      on l.driver_id = ready.courier_id and l.job_id = ready.id
     and l.ts between ready.began_at - interval '5 minutes' and ready.ended_at + interval '5 minutes'
   group by ready.id
)
update packages
   set route = case when lines.points > 1 then lines.line::geography end,
       route_points = coalesce(lines.points, 0), route_at = clock_timestamp()
  from ready left join lines using (id)
 where packages.id = ready.id

-- name: routeless_rides
-- Those that routes_of_rides would draw.
select r.id
  from rides r join drain_cursors c on c.shard = r.shard and c.stream = 'fixes'
 where r.shard = $1 and r.route_at is null and r.ended_at is not null
   and r.ended_at < c.reached_at - make_interval(secs => $2)
 order by r.ended_at limit $3

-- name: without_route_rides
-- Its route was refused: it counts as drawn, and has none.
update rides set route_points = 0, route_at = clock_timestamp() where id = $1 and route_at is null

-- name: routeless_packages
-- Those that routes_of_packages would draw.
select p.id
  from packages p join drain_cursors c on c.shard = p.shard and c.stream = 'fixes'
 where p.shard = $1 and p.route_at is null and p.ended_at is not null
   and p.ended_at < c.reached_at - make_interval(secs => $2)
 order by p.ended_at limit $3

-- name: without_route_packages
-- Its route was refused: it counts as drawn, and has none.
update packages set route_points = 0, route_at = clock_timestamp() where id = $1 and route_at is null
