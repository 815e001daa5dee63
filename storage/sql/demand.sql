-- name: lead
-- One at a time counts for a shard.
select pg_try_advisory_xact_lock(hashtext('demand'), hashtext($1))

-- name: reached
-- Up to when all facts are here.
select reached_at from drain_cursors where shard = $1 and stream = 'facts'

-- name: learned
-- How far the areas of a shard have learned.
select m.area_id, m.learned_at from models m join areas a on a.id = m.area_id
 where a.shard = $1 and m.kind = 'demand'

-- name: document
-- What one area has learned of its demand.
select document from models where area_id = $1 and kind = 'demand'

-- name: first
-- The first request since then.
select min(created_at) from (
  (select created_at from rides where shard = $1 and created_at >= $2 order by created_at limit 1)
  union all
  (select created_at from packages where shard = $1 and created_at >= $2 order by created_at limit 1)
) as first_ones

-- name: requests
-- Where the requests of a time were made.
select area_id, ST_Y(pickup::geometry) as lat, ST_X(pickup::geometry) as lng from rides
 where shard = $1 and created_at >= $2 and created_at < $3
union all
select area_id, ST_Y(pickup::geometry), ST_X(pickup::geometry) from packages
 where shard = $1 and created_at >= $2 and created_at < $3
 limit $4

-- name: ended
-- How many were asked for at once since then, and how many of them were lost: nobody was found, or whoever asked
-- gave up by himself after $3 seconds and more, and had no driver.
select area_id, vehicle_class, count(*)::integer as requests,
       (count(*) filter (where driver is null and (
          state in ('no_driver', 'no_courier')
          or (state = 'cancelled' and by_himself and ended_at >= created_at + make_interval(secs => $3)))))::integer
         as lost
  from (select area_id, vehicle_class, state, created_at, ended_at, driver_id as driver,
               ended_by = passenger_id as by_himself
          from rides where shard = $1 and created_at >= $2 and scheduled_at is null
        union all
        select area_id, vehicle_class, state, created_at, ended_at, courier_id, ended_by = sender_id
          from packages where shard = $1 and created_at >= $2 and scheduled_at is null) as asked
 group by area_id, vehicle_class

-- name: keep
-- The counts of a quarter; counted again they are the same.
insert into demand_counts (area_id, quarter_at, cell, requests, supply)
select r.area_id, $1, r.cell, r.requests, r.supply
  from json_to_recordset($2) as r (area_id text, cell bigint, requests integer, supply real)
  join areas a on a.id = r.area_id
on conflict (area_id, quarter_at, cell) do update set (requests, supply) = (excluded.requests, excluded.supply)

-- name: keep_document
-- What an area has learned, unless it is there already, or later quarters are.
insert into models (area_id, kind, document, learned_at)
select id, 'demand', $2, $3 from areas where id = $1
on conflict (area_id, kind) do update set (document, learned_at) = (excluded.document, excluded.learned_at)
 where models.learned_at < excluded.learned_at

-- name: forget
-- Old counts.
delete from demand_counts c using areas a where a.id = c.area_id and a.shard = $1 and c.quarter_at < $2
