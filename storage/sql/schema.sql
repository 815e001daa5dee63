extension postgis
CREATE OR REPLACE FUNCTION public.ensure_location_partitions(from_day date, until_day date)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
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
$function$
CREATE OR REPLACE FUNCTION public.from_ms(ms bigint)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select case when ms > 0 then to_timestamp(ms / 1000.0) end
$function$
CREATE OR REPLACE FUNCTION public.is_admin(asker uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  select exists (select from users where id = asker and role = 'admin' and status = 'active')
$function$
CREATE OR REPLACE FUNCTION public.keep_area_policy()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  insert into area_policies (area_id, version, policy) values (new.id, new.policy_version, new.policy)
  on conflict do nothing;
  return null;
end
$function$
CREATE OR REPLACE FUNCTION public.money_major(minor bigint, currency text)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select minor / (case
    when currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI',
                      'VND', 'VUV', 'XAF', 'XOF', 'XPF') then 1.0
    when currency in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 1000.0
    else 100.0 end)::double precision
$function$
CREATE OR REPLACE FUNCTION public.number_area_policy()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if tg_op = 'INSERT' then
    new.policy_version := coalesce((select max(version) from area_policies where area_id = new.id), 0) + 1;
  elsif new.policy_version = old.policy_version and new.policy <> old.policy then
    new.policy_version := (select max(version) from area_policies where area_id = new.id) + 1;
    new.policy_before := (old.policy_before || old.policy_version)[greatest(1, cardinality(old.policy_before) - 18):];
  end if;
  return new;
end
$function$
CREATE OR REPLACE FUNCTION public.on_globe(point geometry)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select ST_X(point) between -180 and 180 and ST_Y(point) between -90 and 90
$function$
CREATE OR REPLACE FUNCTION public.package_status(state text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select case state
    when 'scheduled' then 'pending' when 'searching' then 'pending' when 'offered' then 'pending'
    when 'assigned' then 'pending_pickup' when 'arrived_pickup' then 'pending_pickup'
    when 'picked_up' then 'in_transit' when 'arrived_dropoff' then 'in_transit'
    when 'failed' then 'in_transit' when 'returning' then 'in_transit'
    when 'delivered' then 'completed'
    when 'cancelled' then 'cancelled' when 'no_courier' then 'cancelled' when 'returned' then 'cancelled'
  end
$function$
CREATE OR REPLACE FUNCTION public.papers_of(user_id uuid, vehicle_id uuid)
 RETURNS jsonb
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
  select coalesce(jsonb_object_agg(kind, (extract(epoch from valid_until) * 1000)::bigint), '{}')
    from papers where subject_id in (user_id, vehicle_id)
$function$
CREATE OR REPLACE FUNCTION public.place_point(place jsonb)
 RETURNS geography
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select ST_SetSRID(ST_MakePoint((place ->> 'longitude')::float8, (place ->> 'latitude')::float8), 4326)::geography
$function$
CREATE OR REPLACE FUNCTION public.ride_status(state text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  select case state
    when 'scheduled' then 'pending' when 'searching' then 'pending' when 'offered' then 'pending'
    when 'assigned' then 'confirmed' when 'arrived' then 'confirmed'
    when 'in_progress' then 'in_progress' when 'completed' then 'completed'
    when 'cancelled' then 'cancelled' when 'no_driver' then 'cancelled' when 'no_show' then 'cancelled'
  end
$function$
CREATE OR REPLACE FUNCTION public.slow_statements()
 RETURNS TABLE(query text, calls bigint, mean_ms double precision, total_ms double precision)
 LANGUAGE plpgsql
 STABLE
AS $function$
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
$function$
CREATE OR REPLACE FUNCTION public.touch_updated_at()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  new.updated_at := now();
  return new;
end
$function$
CREATE OR REPLACE FUNCTION public.uuid_v7()
 RETURNS uuid
 LANGUAGE sql
 PARALLEL SAFE
AS $function$
  select encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
      52, 1), 53, 1), 'hex')::uuid
$function$
table area_policies
  area_id text not null
  version integer not null
  policy jsonb not null
  made_at timestamp with time zone not null default now()
  constraint area_policies_object CHECK ((jsonb_typeof(policy) = 'object'::text))
  constraint area_policies_pkey PRIMARY KEY (area_id, version)
table areas
  id text not null
  name text not null
  shard text not null
  polygon geometry(MultiPolygon,4326) not null
  policy jsonb not null default '{}'::jsonb
  prices jsonb not null default '{}'::jsonb
  currency text not null
  paused boolean not null default false
  version integer not null default 1
  created_at timestamp with time zone not null default now()
  updated_at timestamp with time zone not null default now()
  policy_version integer not null default 1
  policy_before integer[] not null default '{}'::integer[]
  shadow_version integer
  constraint areas_currency CHECK ((currency ~ '^[A-Z]{3}$'::text))
  constraint areas_id_shape CHECK ((id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'::text))
  constraint areas_objects CHECK (((jsonb_typeof(policy) = 'object'::text) AND (jsonb_typeof(prices) = 'object'::text)))
  constraint areas_pkey PRIMARY KEY (id)
  constraint areas_polygon CHECK ((st_isvalid(polygon) AND (NOT st_isempty(polygon))))
  CREATE INDEX areas_polygon_gist ON public.areas USING gist (polygon)
  CREATE INDEX areas_shard ON public.areas USING btree (shard)
  CREATE TRIGGER areas_keep_policy AFTER INSERT OR UPDATE ON public.areas FOR EACH ROW EXECUTE FUNCTION keep_area_policy()
  CREATE TRIGGER areas_number_policy BEFORE INSERT OR UPDATE ON public.areas FOR EACH ROW EXECUTE FUNCTION number_area_policy()
  CREATE TRIGGER areas_touch BEFORE UPDATE ON public.areas FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
table audit_log
  id uuid not null default uuid_v7()
  at timestamp with time zone not null default now()
  actor_id uuid
  action text not null
  subject_type text not null
  subject_id text not null
  details jsonb not null default '{}'::jsonb
  command_id text
  content text
  answer jsonb
  constraint audit_log_pkey PRIMARY KEY (id)
  CREATE INDEX audit_log_actor ON public.audit_log USING btree (actor_id, at, id)
  CREATE UNIQUE INDEX audit_log_command ON public.audit_log USING btree (actor_id, command_id) WHERE (command_id IS NOT NULL)
  CREATE INDEX audit_log_order ON public.audit_log USING btree (at, id)
  CREATE INDEX audit_log_subject ON public.audit_log USING btree (subject_id, at, id)
table blocks
  blocker_id uuid not null
  blocked_id uuid not null
  stands boolean not null default true
  by_admin boolean not null default false
  changed_at timestamp with time zone not null default clock_timestamp()
  constraint blocks_blocked_id_fkey FOREIGN KEY (blocked_id) REFERENCES users(id) ON DELETE CASCADE
  constraint blocks_blocker_id_fkey FOREIGN KEY (blocker_id) REFERENCES users(id) ON DELETE CASCADE
  constraint blocks_not_oneself CHECK ((blocker_id <> blocked_id))
  constraint blocks_pkey PRIMARY KEY (blocker_id, blocked_id)
  CREATE INDEX blocks_blocked ON public.blocks USING btree (blocked_id)
  CREATE INDEX blocks_changed_at ON public.blocks USING btree (changed_at)
table bookings
  id uuid not null default uuid_v7()
  ride_id uuid not null
  passenger_id uuid not null
  seats_booked integer not null
  total_minor bigint not null
  platform_fee_minor bigint not null default 0
  currency text not null
  pickup geography(Point,4326)
  pickup_address text not null default ''::text
  dropoff geography(Point,4326)
  dropoff_address text not null default ''::text
  status text not null default 'pending'::text
  payment_status text not null default 'pending'::text
  cancel_reason text not null default ''::text
  created_at timestamp with time zone not null default now()
  updated_at timestamp with time zone not null default now()
  constraint bookings_currency CHECK ((currency ~ '^[A-Z]{3}$'::text))
  constraint bookings_money CHECK (((total_minor >= 0) AND ((platform_fee_minor >= 0) AND (platform_fee_minor <= total_minor))))
  constraint bookings_passenger_id_fkey FOREIGN KEY (passenger_id) REFERENCES users(id)
  constraint bookings_payment_status CHECK ((payment_status = ANY (ARRAY['pending'::text, 'completed'::text, 'failed'::text, 'refunded'::text])))
  constraint bookings_pkey PRIMARY KEY (id)
  constraint bookings_seats CHECK (((seats_booked >= 1) AND (seats_booked <= 50)))
  constraint bookings_status CHECK ((status = ANY (ARRAY['pending'::text, 'confirmed'::text, 'cancelled'::text, 'completed'::text])))
  CREATE UNIQUE INDEX bookings_live ON public.bookings USING btree (ride_id, passenger_id) WHERE (status = ANY (ARRAY['pending'::text, 'confirmed'::text]))
  CREATE INDEX bookings_passenger ON public.bookings USING btree (passenger_id, created_at, id)
  CREATE TRIGGER bookings_touch BEFORE UPDATE ON public.bookings FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
table chat_messages
  job_id uuid not null
  id uuid not null
  kind text not null
  sender_id uuid not null
  sender_name text not null
  type text not null
  text text not null
  sent_at timestamp with time zone not null
  constraint chat_messages_kind CHECK ((kind = ANY (ARRAY['ride'::text, 'package'::text])))
  constraint chat_messages_pkey PRIMARY KEY (job_id, id)
  constraint chat_messages_type CHECK ((type = ANY (ARRAY['text'::text, 'image'::text, 'location'::text, 'system'::text])))
  CREATE INDEX chat_messages_order ON public.chat_messages USING btree (job_id, sent_at, id)
table chat_reads
  job_id uuid not null
  reader_id uuid not null
  message_id uuid not null
  read_at timestamp with time zone not null
  constraint chat_reads_pkey PRIMARY KEY (job_id, reader_id)
table courier_profiles
  user_id uuid not null
  is_active boolean not null default false
  is_available boolean not null default false
  vehicle_type text not null default 'bicycle'::text
  preferred_sizes text[] not null default '{}'::text[]
  max_weight_kg double precision not null default 50
  delivery_radius_km double precision not null default 50
  created_at timestamp with time zone not null default now()
  updated_at timestamp with time zone not null default now()
  constraint courier_profiles_limits CHECK (((max_weight_kg > (0)::double precision) AND (delivery_radius_km > (0)::double precision)))
  constraint courier_profiles_pkey PRIMARY KEY (user_id)
  constraint courier_profiles_sizes CHECK ((cardinality(preferred_sizes) <= 20))
  constraint courier_profiles_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
  CREATE TRIGGER courier_profiles_touch BEFORE UPDATE ON public.courier_profiles FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
table dead_letters
  id uuid not null default uuid_v7()
  shard text not null
  life text not null
  stream text not null
  entry_id text not null
  item integer not null
  target text not null
  sqlstate text not null
  reason text not null
  content bytea not null
  at timestamp with time zone not null default now()
  constraint dead_letters_pkey PRIMARY KEY (id)
  constraint dead_letters_shard_life_stream_entry_id_item_key UNIQUE (shard, life, stream, entry_id, item)
  CREATE INDEX dead_letters_order ON public.dead_letters USING btree (at, id)
table decision_drivers
  decision_id text not null
  driver_id uuid not null
  at timestamp with time zone not null
  rank integer not null
  reason text not null
  distance_m integer not null
  eta_s integer not null
  cost_s integer not null
  shadow_s integer
  constraint decision_drivers_pkey PRIMARY KEY (decision_id, driver_id)
  CREATE INDEX decision_drivers_driver ON public.decision_drivers USING btree (driver_id, at)
table decisions
  id text not null
  shard text not null
  job_id uuid not null
  kind text not null
  vehicle_class text not null
  area_id text not null
  policy integer not null
  path text not null
  driver_id uuid
  more integer not null
  shadow integer
  shadow_driver_id uuid
  at timestamp with time zone not null
  constraint decisions_kind CHECK ((kind = ANY (ARRAY['ride'::text, 'package'::text])))
  constraint decisions_path CHECK ((path = ANY (ARRAY['nearest'::text, 'batch'::text, 'rematch'::text])))
  constraint decisions_pkey PRIMARY KEY (id)
  constraint decisions_shadow CHECK (((shadow_driver_id IS NULL) OR (shadow IS NOT NULL)))
  CREATE INDEX decisions_at ON public.decisions USING btree (at)
  CREATE INDEX decisions_job ON public.decisions USING btree (job_id, at)
table demand_counts
  area_id text not null
  quarter_at timestamp with time zone not null
  cell bigint not null
  requests integer not null
  supply real
  constraint demand_counts_area_id_fkey FOREIGN KEY (area_id) REFERENCES areas(id) ON DELETE CASCADE
  constraint demand_counts_pkey PRIMARY KEY (area_id, quarter_at, cell)
  constraint demand_counts_requests CHECK ((requests >= 0))
  constraint demand_counts_supply CHECK ((supply >= (0)::double precision))
table drain_cursors
  shard text not null
  stream text not null
  life text not null default ''::text
  last_id text not null default '0-0'::text
  reached_at timestamp with time zone
  lag_ms bigint not null default 0
  entries bigint not null default 0
  rows bigint not null default 0
  refused bigint not null default 0
  updated_at timestamp with time zone not null default now()
  number bigint not null default 0
  thinned bigint not null default 0
  constraint drain_cursors_last_id CHECK ((last_id ~ '^[0-9]+-[0-9]+$'::text))
  constraint drain_cursors_pkey PRIMARY KEY (shard, stream)
  constraint drain_cursors_stream CHECK ((stream = ANY (ARRAY['facts'::text, 'fixes'::text, 'past'::text])))
table drivers
  id uuid not null
  shard text not null
  name text not null
  state text not null
  area_id text not null
  classes text[] not null
  capacity integer not null
  vehicle_id text
  vehicle text not null
  offer_id text
  job_ids uuid[] not null
  changed_at timestamp with time zone
  version bigint not null
  life text not null
  committed_at timestamp with time zone not null
  constraint drivers_capacity CHECK ((capacity >= 0))
  constraint drivers_pkey PRIMARY KEY (id)
  constraint drivers_state CHECK ((state = ANY (ARRAY['offline'::text, 'idle'::text, 'offered'::text, 'busy'::text, 'stale'::text])))
  CREATE INDEX drivers_order ON public.drivers USING btree (committed_at, id)
  CREATE INDEX drivers_state ON public.drivers USING btree (shard, state)
table locations partition by RANGE (ts)
  driver_id uuid not null
  ts timestamp with time zone not null
  seq bigint not null
  location geometry(Point,4326) not null
  heading real
  speed real
  accuracy real
  job_id uuid
  constraint locations_on_globe CHECK (on_globe(location))
  constraint locations_pkey PRIMARY KEY (driver_id, ts, seq)
  CREATE INDEX locations_ts_brin ON ONLY public.locations USING brin (ts) WITH (pages_per_range='32')
table models
  area_id text not null
  kind text not null
  document bytea not null
  learned_at timestamp with time zone not null
  updated_at timestamp with time zone not null default now()
  constraint models_area_id_fkey FOREIGN KEY (area_id) REFERENCES areas(id) ON DELETE CASCADE
  constraint models_document CHECK (((octet_length(document) >= 1) AND (octet_length(document) <= 33554432)))
  constraint models_kind CHECK ((kind = ANY (ARRAY['eta'::text, 'demand'::text])))
  constraint models_pkey PRIMARY KEY (area_id, kind)
  CREATE TRIGGER models_touch BEFORE UPDATE ON public.models FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
table notifications
  id uuid not null default uuid_v7()
  user_id uuid not null
  type text not null
  title text not null
  message text not null
  data jsonb not null default '{}'::jsonb
  read_at timestamp with time zone
  created_at timestamp with time zone not null default now()
  constraint notifications_pkey PRIMARY KEY (id)
  constraint notifications_shape CHECK ((((length(type) >= 1) AND (length(type) <= 50)) AND ((length(title) >= 1) AND (length(title) <= 200))))
  constraint notifications_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
  CREATE INDEX notifications_unread ON public.notifications USING btree (user_id) WHERE (read_at IS NULL)
  CREATE INDEX notifications_user ON public.notifications USING btree (user_id, created_at, id)
table offers
  id text not null
  shard text not null
  job_id uuid not null
  kind text not null
  driver_id uuid not null
  state text not null
  made_at timestamp with time zone not null
  deadline_at timestamp with time zone not null
  seen_at timestamp with time zone
  ended_at timestamp with time zone
  distance_m double precision not null
  eta_s double precision not null
  reason text not null
  version bigint not null
  life text not null
  committed_at timestamp with time zone not null
  constraint offers_kind CHECK ((kind = ANY (ARRAY['ride'::text, 'package'::text])))
  constraint offers_pkey PRIMARY KEY (id)
  constraint offers_state CHECK ((state = ANY (ARRAY['open'::text, 'accepted'::text, 'declined'::text, 'expired'::text, 'withdrawn'::text, 'lost'::text, 'unseen'::text])))
  CREATE INDEX offers_driver ON public.offers USING btree (driver_id, made_at)
  CREATE INDEX offers_job ON public.offers USING btree (job_id, made_at)
table outbox
  id bigint not null identity a
  shard text not null
  room text not null
  event text not null
  payload jsonb not null
  created_at timestamp with time zone not null default now()
  sent_at timestamp with time zone
  constraint outbox_pkey PRIMARY KEY (id)
  constraint outbox_room CHECK (((room ~ '^(user|ride|package):[^\s]+$'::text) AND (event <> ''::text)))
  CREATE INDEX outbox_unsent ON public.outbox USING btree (shard, id) WHERE (sent_at IS NULL)
table package_events
  room text not null
  epoch text not null
  seq bigint not null
  job_id uuid not null
  event text not null
  payload jsonb not null
  by_user text not null
  at timestamp with time zone not null
  constraint package_events_pkey PRIMARY KEY (room, epoch, seq)
  constraint package_events_spoken CHECK (((seq > 0) AND (event <> ''::text)))
  CREATE INDEX package_events_job ON public.package_events USING btree (job_id, at, seq)
table packages
  id uuid not null
  shard text not null
  state text not null
  status text not null generated default package_status(state)
  sender_id uuid not null
  sender_name text not null
  courier_id uuid
  courier_name text not null
  vehicle_id text
  vehicle text not null
  area_id text not null
  vehicle_class text not null
  pickup geography(Point,4326) not null
  pickup_address text not null
  dropoff geography(Point,4326) not null
  dropoff_address text not null
  stops jsonb not null
  units integer not null
  note text not null
  size text not null
  weight_kg double precision not null
  fragile boolean not null
  tier text not null
  recipient_name text not null
  recipient_phone text not null
  fare_minor bigint not null
  currency text not null
  distance_m double precision not null
  duration_s double precision not null
  offer_id text
  offers integer not null
  excluded uuid[] not null
  created_at timestamp with time zone not null
  scheduled_at timestamp with time zone
  searching_at timestamp with time zone
  assigned_at timestamp with time zone
  arrived_at timestamp with time zone
  started_at timestamp with time zone
  ended_at timestamp with time zone
  reason text not null
  ended_by uuid
  needs_person text not null
  proof jsonb
  route geography(LineString,4326)
  route_points integer
  route_at timestamp with time zone
  version bigint not null
  life text not null
  committed_at timestamp with time zone not null
  constraint packages_courier CHECK (((courier_id IS NOT NULL) OR (state <> ALL (ARRAY['assigned'::text, 'arrived_pickup'::text, 'picked_up'::text, 'arrived_dropoff'::text, 'delivered'::text]))))
  constraint packages_currency CHECK (((currency = ''::text) OR (currency ~ '^[A-Z]{3}$'::text)))
  constraint packages_ended CHECK (((ended_at IS NOT NULL) = (state = ANY (ARRAY['delivered'::text, 'returned'::text, 'cancelled'::text, 'no_courier'::text]))))
  constraint packages_numbers CHECK (((units >= 0) AND (fare_minor >= 0) AND (distance_m >= (0)::double precision) AND (duration_s >= (0)::double precision) AND (weight_kg >= (0)::double precision) AND (offers >= 0)))
  constraint packages_pkey PRIMARY KEY (id)
  constraint packages_places CHECK ((on_globe((pickup)::geometry) AND on_globe((dropoff)::geometry)))
  constraint packages_size CHECK ((size ~ '^[a-z0-9_-]{1,40}$'::text))
  constraint packages_state CHECK ((state = ANY (ARRAY['scheduled'::text, 'searching'::text, 'offered'::text, 'assigned'::text, 'arrived_pickup'::text, 'picked_up'::text, 'arrived_dropoff'::text, 'delivered'::text, 'failed'::text, 'returning'::text, 'returned'::text, 'cancelled'::text, 'no_courier'::text])))
  constraint packages_tier CHECK ((tier ~ '^[a-z0-9_-]{1,40}$'::text))
  CREATE INDEX packages_courier ON public.packages USING btree (courier_id, created_at, id)
  CREATE INDEX packages_created_at ON public.packages USING btree (created_at, id)
  CREATE INDEX packages_live ON public.packages USING btree (shard, id) WHERE (ended_at IS NULL)
  CREATE INDEX packages_pickup_gist ON public.packages USING gist (pickup)
  CREATE INDEX packages_route_due ON public.packages USING btree (shard, ended_at) WHERE ((route_at IS NULL) AND (ended_at IS NOT NULL))
  CREATE INDEX packages_route_gist ON public.packages USING gist (route)
  CREATE INDEX packages_sender ON public.packages USING btree (sender_id, created_at, id)
table papers
  subject_id uuid not null
  kind text not null
  valid_until timestamp with time zone not null
  updated_at timestamp with time zone not null default now()
  constraint papers_kind CHECK ((kind = ANY (ARRAY['licence'::text, 'insurance'::text, 'registration'::text])))
  constraint papers_pkey PRIMARY KEY (subject_id, kind)
  CREATE TRIGGER papers_touch BEFORE UPDATE ON public.papers FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
table payments
  id uuid not null default uuid_v7()
  job_id uuid not null
  booking_id uuid
  payer_id uuid not null
  recipient_id uuid not null
  amount_minor bigint not null
  platform_fee_minor bigint not null default 0
  currency text not null
  method text not null
  provider text not null default ''::text
  provider_ref text
  status text not null default 'pending'::text
  processed_at timestamp with time zone
  created_at timestamp with time zone not null default now()
  updated_at timestamp with time zone not null default now()
  constraint payments_booking_id_fkey FOREIGN KEY (booking_id) REFERENCES bookings(id)
  constraint payments_currency CHECK ((currency ~ '^[A-Z]{3}$'::text))
  constraint payments_method CHECK ((method = ANY (ARRAY['cash'::text, 'card'::text, 'wallet'::text, 'mobile_money'::text])))
  constraint payments_money CHECK (((amount_minor > 0) AND ((platform_fee_minor >= 0) AND (platform_fee_minor <= amount_minor))))
  constraint payments_payer_id_fkey FOREIGN KEY (payer_id) REFERENCES users(id)
  constraint payments_pkey PRIMARY KEY (id)
  constraint payments_processed CHECK (((status <> 'completed'::text) OR (processed_at IS NOT NULL)))
  constraint payments_provider_provider_ref_key UNIQUE (provider, provider_ref)
  constraint payments_recipient_id_fkey FOREIGN KEY (recipient_id) REFERENCES users(id)
  constraint payments_status CHECK ((status = ANY (ARRAY['pending'::text, 'completed'::text, 'failed'::text, 'refunded'::text])))
  CREATE UNIQUE INDEX payments_once ON public.payments USING btree (job_id, payer_id) WHERE (status = ANY (ARRAY['pending'::text, 'completed'::text]))
  CREATE INDEX payments_recipient ON public.payments USING btree (recipient_id, created_at, id)
  CREATE TRIGGER payments_touch BEFORE UPDATE ON public.payments FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
table reviews
  id uuid not null default uuid_v7()
  job_id uuid not null
  reviewer_id uuid not null
  reviewed_id uuid not null
  rating integer not null
  comment text not null default ''::text
  is_anonymous boolean not null default false
  created_at timestamp with time zone not null default now()
  constraint reviews_comment CHECK ((length(comment) <= 2000))
  constraint reviews_job_id_reviewer_id_key UNIQUE (job_id, reviewer_id)
  constraint reviews_not_oneself CHECK ((reviewer_id <> reviewed_id))
  constraint reviews_pkey PRIMARY KEY (id)
  constraint reviews_rating CHECK (((rating >= 1) AND (rating <= 5)))
  constraint reviews_reviewed_id_fkey FOREIGN KEY (reviewed_id) REFERENCES users(id)
  constraint reviews_reviewer_id_fkey FOREIGN KEY (reviewer_id) REFERENCES users(id)
  CREATE INDEX reviews_reviewed ON public.reviews USING btree (reviewed_id, created_at)
table ride_events
  room text not null
  epoch text not null
  seq bigint not null
  job_id uuid not null
  event text not null
  payload jsonb not null
  by_user text not null
  at timestamp with time zone not null
  constraint ride_events_pkey PRIMARY KEY (room, epoch, seq)
  constraint ride_events_spoken CHECK (((seq > 0) AND (event <> ''::text)))
  CREATE INDEX ride_events_job ON public.ride_events USING btree (job_id, at, seq)
table rides
  id uuid not null
  shard text not null
  state text not null
  status text not null generated default ride_status(state)
  passenger_id uuid not null
  passenger_name text not null
  driver_id uuid
  driver_name text not null
  vehicle_id text
  vehicle text not null
  area_id text not null
  vehicle_class text not null
  pickup geography(Point,4326) not null
  pickup_address text not null
  dropoff geography(Point,4326) not null
  dropoff_address text not null
  stops jsonb not null
  units integer not null
  seats integer not null
  note text not null
  fare_minor bigint not null
  currency text not null
  distance_m double precision not null
  duration_s double precision not null
  offer_id text
  offers integer not null
  excluded uuid[] not null
  created_at timestamp with time zone not null
  scheduled_at timestamp with time zone
  searching_at timestamp with time zone
  assigned_at timestamp with time zone
  arrived_at timestamp with time zone
  started_at timestamp with time zone
  ended_at timestamp with time zone
  reason text not null
  ended_by uuid
  needs_person text not null
  route geography(LineString,4326)
  route_points integer
  route_at timestamp with time zone
  version bigint not null
  life text not null
  committed_at timestamp with time zone not null
  taught_at timestamp with time zone
  constraint rides_currency CHECK (((currency = ''::text) OR (currency ~ '^[A-Z]{3}$'::text)))
  constraint rides_driver CHECK (((driver_id IS NOT NULL) OR (state <> ALL (ARRAY['assigned'::text, 'arrived'::text, 'in_progress'::text, 'completed'::text]))))
  constraint rides_ended CHECK (((ended_at IS NOT NULL) = (state = ANY (ARRAY['completed'::text, 'cancelled'::text, 'no_driver'::text, 'no_show'::text]))))
  constraint rides_numbers CHECK (((seats >= 1) AND (units >= 0) AND (fare_minor >= 0) AND (distance_m >= (0)::double precision) AND (duration_s >= (0)::double precision) AND (offers >= 0)))
  constraint rides_pkey PRIMARY KEY (id)
  constraint rides_places CHECK ((on_globe((pickup)::geometry) AND on_globe((dropoff)::geometry)))
  constraint rides_state CHECK ((state = ANY (ARRAY['scheduled'::text, 'searching'::text, 'offered'::text, 'assigned'::text, 'arrived'::text, 'in_progress'::text, 'completed'::text, 'cancelled'::text, 'no_driver'::text, 'no_show'::text])))
  CREATE INDEX rides_created_at ON public.rides USING btree (created_at, id)
  CREATE INDEX rides_driver ON public.rides USING btree (driver_id, created_at, id)
  CREATE INDEX rides_lessons ON public.rides USING btree (shard, ended_at) WHERE ((state = 'completed'::text) AND (taught_at IS NULL))
  CREATE INDEX rides_live ON public.rides USING btree (shard, id) WHERE (ended_at IS NULL)
  CREATE INDEX rides_passenger ON public.rides USING btree (passenger_id, created_at, id)
  CREATE INDEX rides_pickup_gist ON public.rides USING gist (pickup)
  CREATE INDEX rides_route_due ON public.rides USING btree (shard, ended_at) WHERE ((route_at IS NULL) AND (ended_at IS NOT NULL))
  CREATE INDEX rides_route_gist ON public.rides USING gist (route)
table schema_migrations
  name text not null
  checksum text not null
  applied_at timestamp with time zone not null default now()
  constraint schema_migrations_pkey PRIMARY KEY (name)
table sessions
  id uuid not null default uuid_v7()
  user_id uuid not null
  refresh_hash bytea not null
  user_agent text not null default ''::text
  created_at timestamp with time zone not null default now()
  expires_at timestamp with time zone not null
  revoked_at timestamp with time zone
  constraint sessions_expire_later CHECK ((expires_at > created_at))
  constraint sessions_pkey PRIMARY KEY (id)
  constraint sessions_refresh_hash_is_sha256 CHECK ((octet_length(refresh_hash) = 32))
  constraint sessions_refresh_hash_key UNIQUE (refresh_hash)
  constraint sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
  CREATE INDEX sessions_user ON public.sessions USING btree (user_id, created_at) WHERE (revoked_at IS NULL)
table users
  id uuid not null default uuid_v7()
  email text not null
  password_hash text not null
  first_name text not null
  last_name text not null
  phone text
  date_of_birth date
  role text not null default 'passenger'::text
  status text not null default 'active'::text
  profile_picture text
  is_email_verified boolean not null default false
  is_phone_verified boolean not null default false
  last_active_at timestamp with time zone
  created_at timestamp with time zone not null default now()
  updated_at timestamp with time zone not null default now()
  constraint users_email_shape CHECK ((((length(email) >= 3) AND (length(email) <= 255)) AND (email ~ '^[^@\s]+@[^@\s]+$'::text)))
  constraint users_name_shape CHECK ((((length(first_name) >= 1) AND (length(first_name) <= 100)) AND ((length(last_name) >= 1) AND (length(last_name) <= 100))))
  constraint users_phone_shape CHECK ((phone ~ '^\+[0-9]{2,15}$'::text))
  constraint users_pkey PRIMARY KEY (id)
  constraint users_role CHECK ((role = ANY (ARRAY['passenger'::text, 'driver'::text, 'courier'::text, 'admin'::text])))
  constraint users_status CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text, 'pending_verification'::text, 'deactivated'::text])))
  CREATE INDEX users_created_at ON public.users USING btree (created_at, id)
  CREATE UNIQUE INDEX users_email_key ON public.users USING btree (lower(email))
  CREATE TRIGGER users_touch BEFORE UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
table vehicles
  id uuid not null default uuid_v7()
  user_id uuid not null
  make text not null
  model text not null
  year integer not null
  color text not null
  license_plate text not null
  type text not null
  capacity integer not null
  status text not null default 'active'::text
  is_verified boolean not null default false
  created_at timestamp with time zone not null default now()
  updated_at timestamp with time zone not null default now()
  constraint vehicles_capacity CHECK (((capacity >= 1) AND (capacity <= 50)))
  constraint vehicles_pkey PRIMARY KEY (id)
  constraint vehicles_status CHECK ((status = ANY (ARRAY['active'::text, 'inactive'::text, 'maintenance'::text, 'suspended'::text, 'pending_verification'::text])))
  constraint vehicles_type CHECK ((type = ANY (ARRAY['sedan'::text, 'suv'::text, 'hatchback'::text, 'minivan'::text, 'luxury'::text, 'electric'::text, 'car'::text, 'van'::text, 'truck'::text, 'motorcycle'::text, 'bicycle'::text])))
  constraint vehicles_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
  constraint vehicles_year CHECK (((year >= 1900) AND (year <= 2100)))
  CREATE UNIQUE INDEX vehicles_plate_key ON public.vehicles USING btree (upper(license_plate))
  CREATE INDEX vehicles_user ON public.vehicles USING btree (user_id)
  CREATE TRIGGER vehicles_touch BEFORE UPDATE ON public.vehicles FOR EACH ROW EXECUTE FUNCTION touch_updated_at()
view courier_analytics as
 SELECT u.id AS courier_id,
    ((u.status = 'active'::text) AND COALESCE(p.is_active, true)) AS is_active,
    COALESCE((d.state = ANY (ARRAY['idle'::text, 'offered'::text, 'busy'::text])), false) AS is_available,
    COALESCE(k.taken, (0)::bigint) AS taken,
    COALESCE(k.delivered, (0)::bigint) AS delivered,
    COALESCE(k.earnings, (0)::double precision) AS earnings,
    COALESCE(((k.delivered)::double precision / (NULLIF(k.ended, 0))::double precision), (0)::double precision) AS success_rate,
    COALESCE(v.rating, (0)::double precision) AS rating
   FROM ((((users u
     LEFT JOIN courier_profiles p ON ((p.user_id = u.id)))
     LEFT JOIN drivers d ON ((d.id = u.id)))
     LEFT JOIN ( SELECT packages.courier_id,
            count(*) AS taken,
            count(*) FILTER (WHERE (packages.state = 'delivered'::text)) AS delivered,
            count(*) FILTER (WHERE (packages.ended_at IS NOT NULL)) AS ended,
            (sum((money_major(packages.fare_minor, packages.currency))::numeric) FILTER (WHERE (packages.state = 'delivered'::text)))::double precision AS earnings
           FROM packages
          WHERE (packages.courier_id IS NOT NULL)
          GROUP BY packages.courier_id) k ON ((k.courier_id = u.id)))
     LEFT JOIN ( SELECT reviews.reviewed_id,
            (avg(reviews.rating))::double precision AS rating
           FROM reviews
          GROUP BY reviews.reviewed_id) v ON ((v.reviewed_id = u.id)))
  WHERE ((u.role = 'courier'::text) OR (p.user_id IS NOT NULL));
view drain_lag as
 SELECT c.shard,
    c.stream,
    c.lag_ms,
    c.reached_at,
    c.entries,
    c.rows,
    c.refused,
    c.thinned,
    (EXTRACT(epoch FROM (clock_timestamp() - c.updated_at)))::double precision AS silent_s
   FROM drain_cursors c;
view job_events as
 SELECT 'ride'::text AS kind,
    ride_events.job_id,
    ride_events.room,
    ride_events.epoch,
    ride_events.seq,
    ride_events.event,
    ride_events.payload,
    ride_events.by_user,
    ride_events.at
   FROM ride_events
UNION ALL
 SELECT 'package'::text AS kind,
    package_events.job_id,
    package_events.room,
    package_events.epoch,
    package_events.seq,
    package_events.event,
    package_events.payload,
    package_events.by_user,
    package_events.at
   FROM package_events;
view jobs as
 SELECT 'ride'::text AS kind,
    rides.id,
    rides.shard,
    rides.state,
    rides.status,
    rides.passenger_id AS requester_id,
    rides.passenger_name AS requester_name,
    rides.driver_id,
    rides.driver_name,
    rides.vehicle_id,
    rides.vehicle,
    rides.area_id,
    rides.vehicle_class,
    st_y((rides.pickup)::geometry) AS pickup_latitude,
    st_x((rides.pickup)::geometry) AS pickup_longitude,
    rides.pickup_address,
    st_y((rides.dropoff)::geometry) AS dropoff_latitude,
    st_x((rides.dropoff)::geometry) AS dropoff_longitude,
    rides.dropoff_address,
    rides.stops,
    rides.seats,
    rides.note,
    NULL::text AS size,
    NULL::double precision AS weight_kg,
    NULL::boolean AS fragile,
    NULL::text AS tier,
    NULL::text AS recipient_name,
    NULL::text AS recipient_phone,
    rides.fare_minor,
    rides.currency,
    money_major(rides.fare_minor, rides.currency) AS fare,
    rides.distance_m,
    rides.duration_s,
    rides.offers,
    rides.created_at,
    rides.scheduled_at,
    rides.assigned_at,
    rides.arrived_at,
    rides.started_at,
    rides.ended_at,
    rides.reason,
    rides.ended_by,
    rides.needs_person,
    st_length(rides.route) AS route_m,
    rides.version,
    rides.committed_at
   FROM rides
UNION ALL
 SELECT 'package'::text AS kind,
    packages.id,
    packages.shard,
    packages.state,
    packages.status,
    packages.sender_id AS requester_id,
    packages.sender_name AS requester_name,
    packages.courier_id AS driver_id,
    packages.courier_name AS driver_name,
    packages.vehicle_id,
    packages.vehicle,
    packages.area_id,
    packages.vehicle_class,
    st_y((packages.pickup)::geometry) AS pickup_latitude,
    st_x((packages.pickup)::geometry) AS pickup_longitude,
    packages.pickup_address,
    st_y((packages.dropoff)::geometry) AS dropoff_latitude,
    st_x((packages.dropoff)::geometry) AS dropoff_longitude,
    packages.dropoff_address,
    packages.stops,
    NULL::integer AS seats,
    packages.note,
    packages.size,
    packages.weight_kg,
    packages.fragile,
    packages.tier,
    packages.recipient_name,
    packages.recipient_phone,
    packages.fare_minor,
    packages.currency,
    money_major(packages.fare_minor, packages.currency) AS fare,
    packages.distance_m,
    packages.duration_s,
    packages.offers,
    packages.created_at,
    packages.scheduled_at,
    packages.assigned_at,
    packages.arrived_at,
    packages.started_at,
    packages.ended_at,
    packages.reason,
    packages.ended_by,
    packages.needs_person,
    st_length(packages.route) AS route_m,
    packages.version,
    packages.committed_at
   FROM packages;
view perf_bloat as
 SELECT pg_stat_user_tables.relname AS table_name,
    pg_stat_user_tables.n_live_tup AS live_rows,
    pg_stat_user_tables.n_dead_tup AS dead_rows,
    ((pg_stat_user_tables.n_dead_tup)::double precision / (NULLIF((pg_stat_user_tables.n_live_tup + pg_stat_user_tables.n_dead_tup), 0))::double precision) AS dead_share,
    pg_total_relation_size((pg_stat_user_tables.relid)::regclass) AS total_bytes,
    pg_stat_user_tables.last_autovacuum,
    pg_stat_user_tables.last_autoanalyze
   FROM pg_stat_user_tables;
view perf_index_use as
 SELECT s.relname AS table_name,
    s.indexrelname AS index_name,
    s.idx_scan AS scans,
    pg_relation_size((s.indexrelid)::regclass) AS bytes,
    ((s.idx_scan = 0) AND (NOT i.indisunique)) AS looks_unused
   FROM (pg_stat_user_indexes s
     JOIN pg_index i USING (indexrelid));
view perf_slow_statements as
 SELECT slow_statements.query,
    slow_statements.calls,
    slow_statements.mean_ms,
    slow_statements.total_ms
   FROM slow_statements() slow_statements(query, calls, mean_ms, total_ms);
view ride_analytics as
 SELECT ((rides.created_at AT TIME ZONE 'UTC'::text))::date AS date,
    rides.currency,
    count(*) AS total_rides,
    count(*) FILTER (WHERE (rides.state = 'completed'::text)) AS completed,
    count(*) FILTER (WHERE (rides.state = ANY (ARRAY['cancelled'::text, 'no_show'::text]))) AS cancelled,
    count(*) FILTER (WHERE (rides.state = 'no_driver'::text)) AS no_driver,
    avg(money_major(rides.fare_minor, rides.currency)) FILTER (WHERE (rides.state = 'completed'::text)) AS avg_fare,
    (COALESCE(sum((money_major(rides.fare_minor, rides.currency))::numeric) FILTER (WHERE (rides.state = 'completed'::text)), (0)::numeric))::double precision AS total_revenue,
    avg(EXTRACT(epoch FROM (rides.assigned_at - rides.created_at))) FILTER (WHERE (rides.assigned_at IS NOT NULL)) AS avg_wait_s,
    avg(rides.offers) AS offers_per_ride
   FROM rides
  WHERE (rides.created_at >= (now() - '30 days'::interval))
  GROUP BY (((rides.created_at AT TIME ZONE 'UTC'::text))::date), rides.currency;
