-- What history is read from: rides and packages under one set of names, and their events. A query that
-- names the kind reads one of the two tables.

create view jobs as
select 'ride'::text as kind, id, shard, state, status, passenger_id as requester_id,
       passenger_name as requester_name, driver_id, driver_name, vehicle_id, vehicle, area_id, vehicle_class,
       ST_Y(pickup::geometry) as pickup_latitude, ST_X(pickup::geometry) as pickup_longitude, pickup_address,
       ST_Y(dropoff::geometry) as dropoff_latitude, ST_X(dropoff::geometry) as dropoff_longitude,
       dropoff_address, stops, seats, note, null::text as size, null::double precision as weight_kg,
       null::boolean as fragile, null::text as tier, null::text as recipient_name,
       null::text as recipient_phone, fare_minor, currency, money_major(fare_minor, currency) as fare,
       distance_m, duration_s, offers, created_at, scheduled_at, assigned_at, arrived_at, started_at, ended_at,
       reason, ended_by, needs_person, ST_Length(route) as route_m, version, committed_at
  from rides
union all
select 'package'::text, id, shard, state, status, sender_id,
       sender_name, courier_id, courier_name, vehicle_id, vehicle, area_id, vehicle_class,
       ST_Y(pickup::geometry), ST_X(pickup::geometry), pickup_address,
       ST_Y(dropoff::geometry), ST_X(dropoff::geometry),
       dropoff_address, stops, null::integer, note, size, weight_kg,
       fragile, tier, recipient_name,
       recipient_phone, fare_minor, currency, money_major(fare_minor, currency),
       distance_m, duration_s, offers, created_at, scheduled_at, assigned_at, arrived_at, started_at, ended_at,
       reason, ended_by, needs_person, ST_Length(route), version, committed_at
  from packages;

create view job_events as
select 'ride'::text as kind, job_id, room, epoch, seq, event, payload, by_user, at from ride_events
union all
select 'package'::text, job_id, room, epoch, seq, event, payload, by_user, at from package_events;

-- Every courier has numbers, also one without a profile.
drop view courier_analytics;
create view courier_analytics as
select u.id as courier_id,
       u.status = 'active' and coalesce(p.is_active, true) as is_active,
       coalesce(d.state in ('idle', 'offered', 'busy'), false) as is_available,
       coalesce(k.taken, 0) as taken,
       coalesce(k.delivered, 0) as delivered,
       coalesce(k.earnings, 0) as earnings,
       coalesce(k.delivered::double precision / nullif(k.ended, 0), 0) as success_rate,
       coalesce(v.rating, 0) as rating
  from users u
  left join courier_profiles p on p.user_id = u.id
  left join drivers d on d.id = u.id
  left join (select courier_id, count(*) as taken,
                    count(*) filter (where state = 'delivered') as delivered,
                    count(*) filter (where ended_at is not null) as ended,
                    sum(money_major(fare_minor, currency)) filter (where state = 'delivered') as earnings
               from packages where courier_id is not null group by courier_id) k on k.courier_id = u.id
  left join (select reviewed_id, avg(rating)::double precision as rating
               from reviews group by reviewed_id) v on v.reviewed_id = u.id
 where u.role = 'courier' or p.user_id is not null;
