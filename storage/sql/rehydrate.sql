-- name: rides
-- Rides that are not over, by id, at most $3 after $2, with the open offer and the assigned driver of each,
-- and what his account says that he can carry.
select j.id, 'ride' as kind, j.state, j.passenger_id as requester_id, j.passenger_name as requester_name, j.area_id,
       j.vehicle_class, ST_Y(j.pickup::geometry) as pickup_lat, ST_X(j.pickup::geometry) as pickup_lng,
       j.pickup_address, ST_Y(j.dropoff::geometry) as dropoff_lat, ST_X(j.dropoff::geometry) as dropoff_lng,
       j.dropoff_address, j.stops, j.units, j.seats, j.note, j.fare_minor, j.currency, j.distance_m, j.duration_s,
       j.driver_id, j.driver_name, j.vehicle_id, j.vehicle, j.offers, j.excluded, j.created_at, j.scheduled_at,
       j.searching_at, j.assigned_at, j.arrived_at, j.started_at, j.reason, j.needs_person, j.version, j.life,
       j.committed_at, (select count(*) from offers u where u.job_id = j.id and u.state = 'unseen') as unseen,
       to_jsonb(o) as offer, to_jsonb(d) as driver, to_jsonb(c) as carrier
  from rides j
  left join offers o on o.id = j.offer_id and o.job_id = j.id and o.state = 'open'
  left join drivers d on d.id = j.driver_id
  left join lateral (
    select v.capacity as seats, p.preferred_sizes as sizes, p.max_weight_kg, papers_of(u.id, v.id) as papers
      from users u
      left join vehicles v on v.user_id = u.id and v.id::text = d.vehicle_id
      left join courier_profiles p on p.user_id = u.id and u.role = 'courier'
     where u.id = d.id) c on true
 where j.shard = $1 and j.ended_at is null and j.id > $2
 order by j.id limit $3

-- name: packages
-- The same of packages.
select j.id, 'package' as kind, j.state, j.sender_id as requester_id, j.sender_name as requester_name, j.area_id,
       j.vehicle_class, ST_Y(j.pickup::geometry) as pickup_lat, ST_X(j.pickup::geometry) as pickup_lng,
       j.pickup_address, ST_Y(j.dropoff::geometry) as dropoff_lat, ST_X(j.dropoff::geometry) as dropoff_lng,
       j.dropoff_address, j.stops, j.units, 1 as seats, j.note, j.fare_minor, j.currency, j.distance_m, j.duration_s,
       j.courier_id as driver_id, j.courier_name as driver_name, j.vehicle_id, j.vehicle, j.offers, j.excluded,
       j.created_at, j.scheduled_at, j.searching_at, j.assigned_at, j.arrived_at, j.started_at, j.reason,
       j.needs_person, j.version, j.life, j.committed_at,
       (select count(*) from offers u where u.job_id = j.id and u.state = 'unseen') as unseen,
       to_jsonb(o) as offer, to_jsonb(d) as driver, to_jsonb(c) as carrier,
       j.size, j.weight_kg, j.fragile, j.tier, j.recipient_name, j.recipient_phone
  from packages j
  left join offers o on o.id = j.offer_id and o.job_id = j.id and o.state = 'open'
  left join drivers d on d.id = j.courier_id
  left join lateral (
    select v.capacity as seats, p.preferred_sizes as sizes, p.max_weight_kg, papers_of(u.id, v.id) as papers
      from users u
      left join vehicles v on v.user_id = u.id and v.id::text = d.vehicle_id
      left join courier_profiles p on p.user_id = u.id and u.role = 'courier'
     where u.id = d.id) c on true
 where j.shard = $1 and j.ended_at is null and j.id > $2
 order by j.id limit $3
