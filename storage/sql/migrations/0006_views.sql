-- Numbers that people and dashboards read. All are plain views: always current, nothing to refresh.

-- Minor units to the JSON number the apps print: ISO 4217 exponents that are not 2 are listed.
create function money_major(minor bigint, currency text) returns double precision
language sql immutable parallel safe as $$
  select minor / (case
    when currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI',
                      'VND', 'VUV', 'XAF', 'XOF', 'XPF') then 1.0
    when currency in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 1000.0
    else 100.0 end)::double precision
$$;

-- The last 30 days, per day and currency.
create view ride_analytics as
select (created_at at time zone 'UTC')::date as date,
       currency,
       count(*) as total_rides,
       count(*) filter (where state = 'completed') as completed,
       count(*) filter (where state in ('cancelled', 'no_show')) as cancelled,
       count(*) filter (where state = 'no_driver') as no_driver,
       avg(money_major(fare_minor, currency)) filter (where state = 'completed') as avg_fare,
       coalesce(sum(money_major(fare_minor, currency)) filter (where state = 'completed'), 0) as total_revenue,
       avg(extract(epoch from assigned_at - created_at)) filter (where assigned_at is not null) as avg_wait_s,
       avg(offers) as offers_per_ride
  from rides
 where created_at >= now() - interval '30 days'
 group by 1, 2;

-- Per courier, since the beginning.
create view courier_analytics as
select p.user_id as courier_id,
       p.is_active,
       p.is_available,
       coalesce(k.taken, 0) as taken,
       coalesce(k.delivered, 0) as delivered,
       coalesce(k.earnings, 0) as earnings,
       coalesce(k.delivered::double precision / nullif(k.ended, 0), 0) as success_rate,
       coalesce(v.rating, 0) as rating
  from courier_profiles p
  left join (select courier_id, count(*) as taken,
                    count(*) filter (where state = 'delivered') as delivered,
                    count(*) filter (where ended_at is not null) as ended,
                    sum(money_major(fare_minor, currency)) filter (where state = 'delivered') as earnings
               from packages where courier_id is not null group by courier_id) k on k.courier_id = p.user_id
  left join (select reviewed_id, avg(rating)::double precision as rating
               from reviews group by reviewed_id) v on v.reviewed_id = p.user_id;

-- The slowest statements: from pg_stat_statements where it is installed, else those running now. A view
-- cannot name a relation that may be missing, so a function chooses.
create function slow_statements() returns table (query text, calls bigint, mean_ms double precision, total_ms double precision)
language plpgsql stable as $$
begin
  if exists (select from pg_extension where extname = 'pg_stat_statements') then
    begin
      return query execute 'select s.query, s.calls, s.mean_exec_time, s.total_exec_time
                              from pg_stat_statements s order by s.total_exec_time desc limit 50';
      return;
    exception when object_not_in_prerequisite_state then
      null;  -- installed but not preloaded: fall through
    end;
  end if;
  return query
    select a.query, 1::bigint, (extract(epoch from clock_timestamp() - a.query_start) * 1000)::float8,
           (extract(epoch from clock_timestamp() - a.query_start) * 1000)::float8
      from pg_stat_activity a
     where a.datname = current_database() and a.state <> 'idle' and a.pid <> pg_backend_pid()
     order by a.query_start limit 50;
end
$$;
create view perf_slow_statements as select * from slow_statements();

create view perf_bloat as
select relname as table_name, n_live_tup as live_rows, n_dead_tup as dead_rows,
       n_dead_tup::double precision / nullif(n_live_tup + n_dead_tup, 0) as dead_share,
       pg_total_relation_size(relid) as total_bytes, last_autovacuum, last_autoanalyze
  from pg_stat_user_tables;

create view perf_index_use as
select s.relname as table_name, s.indexrelname as index_name, s.idx_scan as scans,
       pg_relation_size(s.indexrelid) as bytes,
       s.idx_scan = 0 and not i.indisunique as looks_unused
  from pg_stat_user_indexes s join pg_index i using (indexrelid);

-- `lag_ms` is what the last round measured on the shard's own clock; `silent_s` grows when no drain runs.
create view drain_lag as
select c.shard, c.stream, c.lag_ms, c.reached_at, c.entries, c.rows, c.refused,
       extract(epoch from clock_timestamp() - c.updated_at)::double precision as silent_s
  from drain_cursors c;
