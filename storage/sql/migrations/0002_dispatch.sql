-- What the drain writes: the history of live dispatch, projected from the facts of Redis.
-- No foreign keys here: a fact may arrive before, or outlive, whatever it points to. `shard`, `life` and
-- `committed_at` say which incarnation of which Redis wrote a row; (version, life, committed_at) decide
-- whether a record read again is newer (storage/projection.py).

-- Milliseconds of the shard's Redis clock; 0 in a record means "never".
create function from_ms(ms bigint) returns timestamptz language sql immutable parallel safe as $$
  select case when ms > 0 then to_timestamp(ms / 1000.0) end
$$;

create function place_point(place jsonb) returns geography language sql immutable parallel safe as $$
  select ST_SetSRID(ST_MakePoint((place ->> 'longitude')::float8, (place ->> 'latitude')::float8), 4326)::geography
$$;

-- A coordinate pair that is finite and on the globe. Comparisons are false for null and true for
-- NaN > anything, so NaN and infinities fail too.
create function on_globe(point geometry) returns boolean language sql immutable parallel safe as $$
  select ST_X(point) between -180 and 180 and ST_Y(point) between -90 and 90
$$;

-- Exact lifecycle words to the platform's words, as PROTOCOL says.
create function ride_status(state text) returns text language sql immutable parallel safe as $$
  select case state
    when 'scheduled' then 'pending' when 'searching' then 'pending' when 'offered' then 'pending'
    when 'assigned' then 'confirmed' when 'arrived' then 'confirmed'
    when 'in_progress' then 'in_progress' when 'completed' then 'completed'
    when 'cancelled' then 'cancelled' when 'no_driver' then 'cancelled' when 'no_show' then 'cancelled'
  end
$$;

create function package_status(state text) returns text language sql immutable parallel safe as $$
  select case state
    when 'scheduled' then 'pending' when 'searching' then 'pending' when 'offered' then 'pending'
    when 'assigned' then 'pending_pickup' when 'arrived_pickup' then 'pending_pickup'
    when 'picked_up' then 'in_transit' when 'arrived_dropoff' then 'in_transit'
    when 'failed' then 'in_transit' when 'returning' then 'in_transit'
    when 'delivered' then 'completed'
    when 'cancelled' then 'cancelled' when 'no_courier' then 'cancelled' when 'returned' then 'cancelled'
  end
$$;

create table drivers (
  id uuid primary key,
  shard text not null,
  name text not null,
  state text not null,
  area_id text not null,
  classes text[] not null,
  capacity integer not null,
  vehicle_id text,
  vehicle text not null,
  offer_id text,
  job_ids uuid[] not null,
  changed_at timestamptz,
  version bigint not null,
  life text not null,
  committed_at timestamptz not null,
  constraint drivers_state check (state in ('offline', 'idle', 'offered', 'busy', 'stale')),
  constraint drivers_capacity check (capacity >= 0)
);
create index drivers_state on drivers (shard, state);

create table rides (
  id uuid primary key,
  shard text not null,
  state text not null,
  status text not null generated always as (ride_status(state)) stored,
  passenger_id uuid not null,
  passenger_name text not null,
  driver_id uuid,
  driver_name text not null,
  vehicle_id text,
  vehicle text not null,
  area_id text not null,
  vehicle_class text not null,
  pickup geography(Point, 4326) not null,
  pickup_address text not null,
  dropoff geography(Point, 4326) not null,
  dropoff_address text not null,
  stops jsonb not null,
  units integer not null,
  seats integer not null,
  note text not null,
  fare_minor bigint not null,
  currency text not null,
  distance_m double precision not null,
  duration_s double precision not null,
  offer_id text,
  offers integer not null,
  excluded uuid[] not null,
  created_at timestamptz not null,
  scheduled_at timestamptz,
  searching_at timestamptz,
  assigned_at timestamptz,
  arrived_at timestamptz,
  started_at timestamptz,
  ended_at timestamptz,
  reason text not null,
  ended_by uuid,
  needs_person text not null,
  route geography(LineString, 4326),
  route_points integer,
  route_at timestamptz,
  version bigint not null,
  life text not null,
  committed_at timestamptz not null,
  constraint rides_state check (state in ('scheduled', 'searching', 'offered', 'assigned', 'arrived',
    'in_progress', 'completed', 'cancelled', 'no_driver', 'no_show')),
  constraint rides_driver check (driver_id is not null or state not in ('assigned', 'arrived', 'in_progress', 'completed')),
  constraint rides_ended check ((ended_at is not null) = (state in ('completed', 'cancelled', 'no_driver', 'no_show'))),
  constraint rides_numbers check (seats >= 1 and units >= 0 and fare_minor >= 0 and distance_m >= 0
    and duration_s >= 0 and offers >= 0),
  constraint rides_places check (on_globe(pickup::geometry) and on_globe(dropoff::geometry)),
  constraint rides_currency check (currency = '' or currency ~ '^[A-Z]{3}$')
);
create index rides_passenger on rides (passenger_id, created_at, id);
create index rides_driver on rides (driver_id, created_at, id);
create index rides_created_at on rides (created_at, id);
create index rides_route_due on rides (shard, ended_at) where route_at is null and ended_at is not null;
create index rides_pickup_gist on rides using gist (pickup);
create index rides_route_gist on rides using gist (route);

create table packages (
  id uuid primary key,
  shard text not null,
  state text not null,
  status text not null generated always as (package_status(state)) stored,
  sender_id uuid not null,
  sender_name text not null,
  courier_id uuid,
  courier_name text not null,
  vehicle_id text,
  vehicle text not null,
  area_id text not null,
  vehicle_class text not null,
  pickup geography(Point, 4326) not null,
  pickup_address text not null,
  dropoff geography(Point, 4326) not null,
  dropoff_address text not null,
  stops jsonb not null,
  units integer not null,
  note text not null,
  size text not null,
  weight_kg double precision not null,
  fragile boolean not null,
  tier text not null,
  recipient_name text not null,
  recipient_phone text not null,
  fare_minor bigint not null,
  currency text not null,
  distance_m double precision not null,
  duration_s double precision not null,
  offer_id text,
  offers integer not null,
  excluded uuid[] not null,
  created_at timestamptz not null,
  scheduled_at timestamptz,
  searching_at timestamptz,
  assigned_at timestamptz,
  arrived_at timestamptz,
  started_at timestamptz,
  ended_at timestamptz,
  reason text not null,
  ended_by uuid,
  needs_person text not null,
  proof jsonb,
  route geography(LineString, 4326),
  route_points integer,
  route_at timestamptz,
  version bigint not null,
  life text not null,
  committed_at timestamptz not null,
  constraint packages_state check (state in ('scheduled', 'searching', 'offered', 'assigned',
    'arrived_pickup', 'picked_up', 'arrived_dropoff', 'delivered', 'failed', 'returning', 'returned',
    'cancelled', 'no_courier')),
  constraint packages_courier check (courier_id is not null or state not in ('assigned', 'arrived_pickup',
    'picked_up', 'arrived_dropoff', 'delivered')),
  constraint packages_ended check ((ended_at is not null) = (state in ('delivered', 'returned', 'cancelled', 'no_courier'))),
  constraint packages_numbers check (units >= 0 and fare_minor >= 0 and distance_m >= 0 and duration_s >= 0
    and weight_kg >= 0 and offers >= 0),
  constraint packages_places check (on_globe(pickup::geometry) and on_globe(dropoff::geometry)),
  constraint packages_size check (size ~ '^[a-z0-9_-]{1,40}$'),  -- which exist is said by the area's prices
  constraint packages_tier check (tier ~ '^[a-z0-9_-]{1,40}$'),
  constraint packages_currency check (currency = '' or currency ~ '^[A-Z]{3}$')
);
create index packages_sender on packages (sender_id, created_at, id);
create index packages_courier on packages (courier_id, created_at, id);
create index packages_created_at on packages (created_at, id);
create index packages_route_due on packages (shard, ended_at) where route_at is null and ended_at is not null;
create index packages_pickup_gist on packages using gist (pickup);
create index packages_route_gist on packages using gist (route);

-- Every holding of a job for a driver, with its outcome.
create table offers (
  id text primary key,
  shard text not null,
  job_id uuid not null,
  kind text not null,
  driver_id uuid not null,
  state text not null,
  made_at timestamptz not null,
  deadline_at timestamptz not null,
  seen_at timestamptz,
  ended_at timestamptz,
  distance_m double precision not null,
  eta_s double precision not null,
  reason text not null,
  version bigint not null,
  life text not null,
  committed_at timestamptz not null,
  constraint offers_kind check (kind in ('ride', 'package')),
  constraint offers_state check (state in ('open', 'accepted', 'declined', 'expired', 'withdrawn', 'lost'))
);
create index offers_job on offers (job_id, made_at);
create index offers_driver on offers (driver_id, made_at);

-- What was said, in the order of each room. Codes are taken out before they come here.
create table ride_events (
  room text not null,
  epoch text not null,
  seq bigint not null,
  job_id uuid not null,
  event text not null,
  payload jsonb not null,
  by_user text not null,
  at timestamptz not null,
  primary key (room, epoch, seq),
  constraint ride_events_spoken check (seq > 0 and event <> '')
);
create index ride_events_job on ride_events (job_id, at, seq);

create table package_events (
  room text not null,
  epoch text not null,
  seq bigint not null,
  job_id uuid not null,
  event text not null,
  payload jsonb not null,
  by_user text not null,
  at timestamptz not null,
  primary key (room, epoch, seq),
  constraint package_events_spoken check (seq > 0 and event <> '')
);
create index package_events_job on package_events (job_id, at, seq);

-- Chat. The key begins with the job: a line's id is chosen by a client, and must not be able to hide a
-- line of another room.
create table chat_messages (
  job_id uuid not null,
  id uuid not null,
  kind text not null,
  sender_id uuid not null,
  sender_name text not null,
  type text not null,
  text text not null,
  sent_at timestamptz not null,
  primary key (job_id, id),
  constraint chat_messages_kind check (kind in ('ride', 'package')),
  constraint chat_messages_type check (type in ('text', 'image', 'location', 'system'))
);
create index chat_messages_order on chat_messages (job_id, sent_at, id);

create table chat_reads (
  job_id uuid not null,
  reader_id uuid not null,
  message_id uuid not null,
  read_at timestamptz not null,
  primary key (job_id, reader_id)
);
