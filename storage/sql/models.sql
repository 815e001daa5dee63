-- name: put
-- Keeps a document in place of the one before it.
insert into models (area_id, kind, document, learned_at)
values ($1, $2, $3, to_timestamp($4))
on conflict (area_id, kind) do update set (document, learned_at) = (excluded.document, excluded.learned_at)

-- name: lead
-- One at a time learns for a shard; another one is told so, and may try later.
select pg_try_advisory_xact_lock(hashtext('models'), hashtext($1))

-- name: lessons
-- Finished rides from which nothing was learned yet, oldest first. Where a driver was when he took a ride is known by
-- his last fix before; one who took a booking may have waited before he left, one who had another job then had that to
-- end first.
select r.id, r.area_id, ST_Y(r.pickup::geometry) as pickup_lat_deg, ST_X(r.pickup::geometry) as pickup_lng_deg,
       ST_Y(r.dropoff::geometry) as dropoff_lat_deg, ST_X(r.dropoff::geometry) as dropoff_lng_deg,
       extract(epoch from r.started_at)::float8 as started_s, extract(epoch from r.ended_at)::float8 as ended_s,
       jsonb_array_length(r.stops) as stops,
       ST_Y(fix.location) as from_lat_deg, ST_X(fix.location) as from_lng_deg,
       extract(epoch from r.assigned_at)::float8 as assigned_s, extract(epoch from r.arrived_at)::float8 as arrived_s
  from rides r
  left join lateral (
    select l.location, l.job_id from locations l
     where l.driver_id = r.driver_id and l.ts between r.assigned_at - interval '30 seconds' and r.assigned_at
     order by l.ts desc limit 1
  ) fix on r.scheduled_at is null and fix.job_id is null
 where r.shard = $1 and r.state = 'completed' and r.taught_at is null
 order by r.ended_at limit $2

-- name: taught
-- These have taught what they could.
update rides set taught_at = clock_timestamp() where id = any($1::uuid[])

-- name: model
-- What one area has learned.
select document from models where area_id = $1 and kind = $2

-- name: newer
-- What was learned since then.
select m.area_id, m.document, m.updated_at
  from models m join areas a on a.id = m.area_id
 where a.shard = $1 and m.kind = $2 and m.updated_at > $3
 order by m.updated_at
