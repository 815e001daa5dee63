-- The console's tables, for administrators only: $1 who asks, ($2, $3) where the page begins, newest first, $4 what is
-- searched for, then the table's filters, each null where it is not wanted, and last how many rows. Text is looked for
-- in what is read anyway, newest first. For an id that is typed in full storage/tables.py puts the condition of the
-- comment in the place of what stands between `/* text */` and it, so that the indexes find it.

-- name: users
-- Accounts; filters: role, status.
select u.id, u.first_name || ' ' || u.last_name as name, u.email, u.phone, u.role, u.status, u.created_at,
       greatest(u.last_active_at, (select changed_at from drivers d where d.id = u.id),
         (select max(s.created_at) from sessions s where s.user_id = u.id and s.revoked_at is null)) as last_active_at,
       u.created_at as order_at,
       (select count(*) from sessions s
         where s.user_id = u.id and s.revoked_at is null and s.expires_at > now()) as sessions
  from users u
 where is_admin($1) and (u.created_at, u.id) < ($2, $3)
   and /* text */ ($4::text is null
        or strpos(lower(u.email || ' ' || u.first_name || ' ' || u.last_name || ' ' || coalesce(u.phone, '')), $4) > 0)
       /* id: u.id = $4::uuid */
   and ($5::text is null or u.role = $5) and ($6::text is null or u.status = $6)
 order by u.created_at desc, u.id desc limit $7

-- name: drivers
-- Drivers and couriers as dispatch left them; filters: state, area, class.
select d.id, d.name, d.state, d.area_id, d.classes, d.capacity, d.vehicle, d.job_ids, d.changed_at,
       d.committed_at as order_at, u.email, u.phone, u.status as account
  from drivers d left join users u on u.id = d.id
 where is_admin($1) and (d.committed_at, d.id) < ($2, $3)
   and /* text */ ($4::text is null or strpos(lower(d.name || ' ' || d.vehicle), $4) > 0) /* id: d.id = $4::uuid */
   and ($5::text is null or d.state = $5) and ($6::text is null or d.area_id = $6)
   and ($7::text is null or $7 = any(d.classes))
 order by d.committed_at desc, d.id desc limit $8

-- name: rides
-- Rides; filters: status, state or "ended", area, "held" for those that wait for a person. Text is looked for in those
-- of the last 31 days, an id in all.
select j.id, j.state, j.status, j.passenger_id as requester_id, j.passenger_name as requester_name, j.driver_id,
       j.driver_name, j.area_id, j.vehicle_class as class, j.pickup_address, j.dropoff_address, j.fare_minor,
       j.currency, j.distance_m, j.offers, j.created_at, j.scheduled_at, j.assigned_at, j.ended_at, j.reason,
       j.needs_person, j.created_at as order_at
  from rides j
 where is_admin($1) and (j.created_at, j.id) < ($2, $3)
   and /* text */ ($4::text is null
        or (j.created_at > now() - interval '31 days' and strpos(lower(j.passenger_name || ' ' || j.driver_name || ' '
            || j.pickup_address || ' ' || j.dropoff_address), $4) > 0))
       /* id: (j.id = $4::uuid or j.passenger_id = $4::uuid or j.driver_id = $4::uuid) */
   and ($5::text is null or $5 in (j.status, j.state, case when j.ended_at is not null then 'ended' end))
   and ($6::text is null or j.area_id = $6) and ($7::text is null or j.needs_person <> '')
 order by j.created_at desc, j.id desc limit $8

-- name: packages
-- The same of packages.
select j.id, j.state, j.status, j.sender_id as requester_id, j.sender_name as requester_name, j.courier_id as driver_id,
       j.courier_name as driver_name, j.area_id, j.tier as class, j.pickup_address, j.dropoff_address, j.fare_minor,
       j.currency, j.distance_m, j.offers, j.created_at, j.scheduled_at, j.assigned_at, j.ended_at, j.reason,
       j.needs_person, j.created_at as order_at
  from packages j
 where is_admin($1) and (j.created_at, j.id) < ($2, $3)
   and /* text */ ($4::text is null
        or (j.created_at > now() - interval '31 days' and strpos(lower(j.sender_name || ' ' || j.courier_name || ' '
            || j.pickup_address || ' ' || j.dropoff_address), $4) > 0))
       /* id: (j.id = $4::uuid or j.sender_id = $4::uuid or j.courier_id = $4::uuid) */
   and ($5::text is null or $5 in (j.status, j.state, case when j.ended_at is not null then 'ended' end))
   and ($6::text is null or j.area_id = $6) and ($7::text is null or j.needs_person <> '')
 order by j.created_at desc, j.id desc limit $8

-- name: letters
-- Rows that PostgreSQL refused; filters: target, stream. What people said is not in them.
select l.id, l.at, l.at as order_at, l.stream, l.entry_id, l.item, l.target, l.sqlstate, l.reason,
       encode(substr(l.content, 1, 4000), 'escape') as content
  from dead_letters l
 where is_admin($1) and (l.at, l.id) < ($2, $3)
   and /* text */ ($4::text is null or strpos(lower(l.reason || ' ' || l.entry_id), $4) > 0) /* id: l.id = $4::uuid */
   and ($5::text is null or l.target = $5) and ($6::text is null or l.stream = $6)
 order by l.at desc, l.id desc limit $7

-- name: audit
-- What admins and commands of the shell did; filters: action, actor.
select a.id, a.at, a.at as order_at, a.actor_id, a.action, a.subject_type, a.subject_id, a.details,
       u.first_name || ' ' || u.last_name as actor_name,
       case when a.subject_type = 'user' and a.subject_id ~ '^[0-9a-f-]{36}$'
              then (select s.first_name || ' ' || s.last_name from users s where s.id = a.subject_id::uuid)
            when a.subject_type = 'area' then (select s.name from areas s where s.id = a.subject_id)
       end as subject_name
  from audit_log a left join users u on u.id = a.actor_id
 where is_admin($1) and (a.at, a.id) < ($2, $3)
   and /* text */ ($4::text is null
        or strpos(lower(coalesce(u.first_name || ' ' || u.last_name, '') || ' ' || a.action || ' ' || a.subject_id || ' '
           || coalesce(a.details ->> 'reason', '')), $4) > 0)
       /* id: (a.id = $4::uuid or a.subject_id = $4::uuid::text) */
   and ($5::text is null or a.action = $5) and ($6::text is null or a.actor_id::text = $6)
 order by a.at desc, a.id desc limit $7

-- name: areas
-- Areas with how many drivers and live jobs they have; no filters, all of a page at most.
select a.id, a.name, a.shard, a.currency, a.paused, a.version, a.policy, a.prices, a.updated_at,
       a.created_at as order_at,
       (select count(*) from drivers d where d.area_id = a.id and d.state in ('idle', 'offered', 'busy')) as drivers,
       (select count(*) from rides r where r.shard = a.shard and r.ended_at is null and r.area_id = a.id)
       + (select count(*) from packages p where p.shard = a.shard and p.ended_at is null and p.area_id = a.id) as jobs
  from areas a
 where is_admin($1) and ($2::text is null or strpos(lower(a.id || ' ' || a.name), $2) > 0)
 order by a.id limit $3

-- name: driver_jobs
-- The last jobs that $2 had and that are over.
select kind, id, state, pickup_address, dropoff_address, fare_minor, currency, created_at, ended_at
  from jobs
 where is_admin($1) and driver_id = $2 and ended_at is not null
 order by created_at desc, id desc limit $3

-- name: driver_earned
-- What $2 has completed since $3, and what it came to; a job takes a month at most.
select currency, count(*) as jobs, sum(fare_minor)::bigint as fare_minor
  from jobs
 where is_admin($1) and driver_id = $2 and status = 'completed' and ended_at >= $3
   and created_at >= $3 - interval '31 days'
 group by currency order by currency

-- name: figures
-- By hour and area since $2: what was asked for and served, how long a driver took to be found, what it came to. Where
-- there are too many, the oldest hours are left out.
select date_trunc('hour', created_at) as hour, area_id, currency, count(*) as requests,
       count(*) filter (where status = 'completed') as served,
       count(*) filter (where state in ('no_driver', 'no_courier')) as unserved, count(*) filter (where ended_at is not null) as ended,
       count(*) filter (where assigned_at is not null) as assigned,
       coalesce(avg(extract(epoch from assigned_at - greatest(created_at, coalesce(scheduled_at, created_at))))
         filter (where assigned_at is not null), 0)::float8 as wait_s,
       coalesce(sum(money_major(fare_minor, currency)::numeric) filter (where status = 'completed'), 0)::float8 as earnings
  from jobs
 where is_admin($1) and created_at >= $2
 group by 1, 2, 3 order by 1 desc, 2, 3 limit $3

-- name: database
-- What the health page asks of PostgreSQL itself.
select pg_database_size(current_database()) as bytes,
       (select count(*) from pg_stat_activity where datname = current_database()) as connections,
       current_setting('max_connections')::int as connections_max,
       (select count(*) from (select from dead_letters limit 10001) l) as letters
 where is_admin($1)
