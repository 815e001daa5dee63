-- Positions: one partition a day, written by COPY only. BRIN on ts costs next to nothing per row; a GiST
-- on raw fixes halves the rate (measured 165-235 k rows/s bare, 60-70 k with it) and nobody asks for it.
create table locations (
  driver_id uuid not null,
  ts timestamptz not null,
  seq bigint not null,
  location geometry(Point, 4326) not null,
  heading real,
  speed real,
  accuracy real,
  job_id uuid,
  primary key (driver_id, ts, seq),
  constraint locations_on_globe check (on_globe(location))
) partition by range (ts);
create index locations_ts_brin on locations using brin (ts) with (pages_per_range = 32);

-- Makes the partitions of the days from..until (UTC, both included) that do not exist; answers how many.
-- ATTACH takes a lock that neither readers nor writers wait for; the advisory lock lets two drains ask at once.
create function ensure_location_partitions(from_day date, until_day date) returns integer
language plpgsql as $$
declare
  day date;
  name text;
  made integer := 0;
begin
  if until_day - from_day > 400 then
    raise exception 'ensure_location_partitions: % to % is more than 400 days', from_day, until_day;
  end if;
  perform pg_advisory_xact_lock(hashtext('ensure_location_partitions'));
  for day in select generate_series(from_day, until_day, interval '1 day')::date loop
    name := 'locations_' || to_char(day, 'YYYYMMDD');
    continue when to_regclass(name) is not null;
    execute format('create table %I (like locations including all)', name);
    execute format('alter table locations attach partition %I for values from (%L) to (%L)', name,
                   day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
    made := made + 1;
  end loop;
  return made;
end
$$;
