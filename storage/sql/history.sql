-- name: my_jobs
-- $1's own rides or packages ($2 the kind), newest first, behind ($3, $4); $5 a status or state, $6 as requester
-- or driver, both optional. Two index scans instead of one OR.
(select * from jobs
  where kind = $2 and requester_id = $1 and coalesce($6, 'requester') = 'requester'
    and (created_at, id) < ($3, $4) and ($5::text is null or $5 in (status, state))
  order by created_at desc, id desc limit $7)
union all
(select * from jobs
  where kind = $2 and driver_id = $1 and requester_id <> $1 and coalesce($6, 'driver') = 'driver'
    and (created_at, id) < ($3, $4) and ($5::text is null or $5 in (status, state))
  order by created_at desc, id desc limit $7)
order by created_at desc, id desc limit $7

-- name: all_jobs
-- Everybody's rides or packages, for administrators.
select j.*, u.email as requester_email
  from jobs j left join users u on u.id = j.requester_id
 where is_admin($1) and j.kind = $2 and (j.created_at, j.id) < ($3, $4)
   and ($5::text is null or $5 in (j.status, j.state))
 order by j.created_at desc, j.id desc limit $6

-- name: job
-- One job, for its parties and administrators.
select * from jobs where kind = $2 and id = $3 and ($1 in (requester_id, driver_id) or is_admin($1))

-- name: people
-- The names behind ids, with what the apps show beside them.
select u.id, u.first_name, u.last_name, u.phone, u.profile_picture,
       coalesce((select avg(rating) from reviews where reviewed_id = u.id), 0)::float8 as rating,
       (select count(*) from rides where driver_id = u.id and state = 'completed') as total_rides
  from users u where u.id = any ($1)

-- name: vehicles
-- The vehicles behind ids.
select id, make, model, year, color, license_plate, capacity from vehicles where id = any ($1)

-- name: facts
-- What was said in a job's own room, in order, behind ($4, $5); user rooms stay their user's. A driver reads what
-- was said since he has the job: what was before was between others.
select room, epoch, seq, event, payload, by_user, at
  from job_events
 where kind = $2 and job_id = $3 and room = $2 || ':' || $3::text and (at, seq) > ($4, $5::bigint)
   and at >= (select case when $1 = requester_id or is_admin($1) then '-infinity'
                            when $1 = driver_id then coalesce(assigned_at, created_at) end
                  from jobs where kind = $2 and id = $3)
 order by at, seq limit $6

-- name: messages
-- A job's chat in order, behind ($4, $5), each line with when the first other party had read it; to a driver since
-- he has the job.
select m.id, m.sender_id, m.sender_name, m.type, m.text, m.sent_at,
       (select min(r.read_at) from chat_reads r
          join chat_messages upto on upto.job_id = r.job_id and upto.id = r.message_id
         where r.job_id = m.job_id and r.reader_id <> m.sender_id and upto.sent_at >= m.sent_at) as read_at
  from chat_messages m
 where m.kind = $2 and m.job_id = $3 and (m.sent_at, m.id) > ($4, $5)
   and m.sent_at >= (select case when $1 = requester_id or is_admin($1) then '-infinity'
                            when $1 = driver_id then coalesce(assigned_at, created_at) end
                  from jobs where kind = $2 and id = $3)
 order by m.sent_at, m.id limit $6

-- name: track
-- The driver's positions on a job, at most $4 of them evenly over all, the last one included.
with job as (
  select id, driver_id, coalesce(assigned_at, created_at) - interval '5 minutes' as since,
         coalesce(ended_at, now()) + interval '5 minutes' as until
    from jobs where kind = $2 and id = $3 and ($1 in (requester_id, driver_id) or is_admin($1))
), points as (
  select l.ts, l.seq, l.location, row_number() over (order by l.ts, l.seq) as n, count(*) over () as total
    from job join locations l on l.driver_id = job.driver_id and l.job_id = job.id
     and l.ts between job.since and job.until
)
select ST_X(location) as longitude, ST_Y(location) as latitude, ts, total
  from points
 where (n - 1) % greatest(1, ceil((total - 1)::float8 / greatest(1, $4 - 1))::bigint) = 0 or n = total
 order by n

-- name: users
-- Accounts, for administrators.
select id, email, first_name, last_name, role, status, is_email_verified, last_active_at, created_at
  from users
 where is_admin($1) and (created_at, id) < ($2, $3)
 order by created_at desc, id desc limit $4

-- name: couriers
-- Couriers with their numbers, for administrators.
select u.id, u.first_name, u.last_name, u.email, u.phone, u.created_at, a.is_active, a.is_available, a.rating,
       a.delivered, a.success_rate, a.earnings, p.vehicle_type, p.max_weight_kg, p.delivery_radius_km
  from courier_analytics a
  join users u on u.id = a.courier_id
  left join courier_profiles p on p.user_id = u.id
 where is_admin($1) and (u.created_at, u.id) < ($2, $3)
 order by u.created_at desc, u.id desc limit $4

-- name: courier_numbers
-- The sums of the courier dashboard, for administrators. Money is summed as numeric: sums of doubles are not exact.
select p.*, c.*
  from (select count(*) as total,
               count(*) filter (where status = 'pending') as pending,
               count(*) filter (where status in ('pending_pickup', 'in_transit')) as in_transit,
               count(*) filter (where status = 'completed') as completed,
               coalesce(sum(money_major(fare_minor, currency)::numeric)
                 filter (where status = 'completed'), 0)::float8 as revenue,
               coalesce(avg(distance_m), 0) / 1000 as avg_distance_km,
               count(*) filter (where created_at >= date_trunc('day', now())) as today,
               coalesce(sum(money_major(fare_minor, currency)::numeric) filter (where status = 'completed'
                 and ended_at >= date_trunc('day', now())), 0)::float8 as revenue_today
          from packages) p,
       (select count(*) as couriers, count(*) filter (where is_active) as active,
               count(*) filter (where is_available) as available,
               coalesce(avg(nullif(rating, 0)), 0)::float8 as avg_rating,
               coalesce(sum(delivered), 0)::bigint as delivered,
               coalesce(sum(earnings::numeric), 0)::float8 as earnings
          from courier_analytics) c
 where is_admin($1)

-- name: lag
-- How old the newest certain moment of history is, over all streams of a shard, and what was refused.
select stream, lag_ms, reached_at, silent_s, entries, rows, refused from drain_lag where shard = $1
