-- Who there is and where we work: accounts, sessions, vehicles, areas, the audit log.
-- PostgreSQL owns these rows: they are written here first.

create extension if not exists postgis;

-- Time-ordered keys for the rows PostgreSQL makes (RFC 9562 version 7): new rows land on the right edge of
-- the index. Version 4's nibble 0100 becomes 0111 by setting two bits; the first 48 bits are milliseconds.
create function uuid_v7() returns uuid language sql volatile parallel safe as $$
  select encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
              placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
              from 1 for 6),
      52, 1), 53, 1), 'hex')::uuid
$$;

create function touch_updated_at() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end
$$;

create table users (
  id uuid primary key default uuid_v7(),
  email text not null,
  password_hash text not null,
  first_name text not null,
  last_name text not null,
  phone text,
  date_of_birth date,
  role text not null default 'passenger',
  status text not null default 'active',
  profile_picture text,
  is_email_verified boolean not null default false,
  is_phone_verified boolean not null default false,
  last_active_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint users_email_shape check (length(email) between 3 and 255 and email ~ '^[^@\s]+@[^@\s]+$'),
  constraint users_name_shape check (length(first_name) between 1 and 100 and length(last_name) between 1 and 100),
  constraint users_phone_shape check (phone ~ '^\+[0-9]{2,15}$'),
  constraint users_role check (role in ('passenger', 'driver', 'courier', 'admin')),
  constraint users_status check (status in ('active', 'suspended', 'pending_verification', 'deactivated'))
);
create unique index users_email_key on users (lower(email));
create index users_created_at on users (created_at, id);
create trigger users_touch before update on users for each row execute function touch_updated_at();

-- Asked by every history query, so that no caller can claim the role.
create function is_admin(asker uuid) returns boolean language sql stable parallel safe as $$
  select exists (select from users where id = asker and role = 'admin' and status = 'active')
$$;

-- A session is named by access tokens (`sid`) and holds the hash of one refresh token, which stays good
-- until logout or expiry because the apps keep two copies of it.
create table sessions (
  id uuid primary key default uuid_v7(),
  user_id uuid not null references users on delete cascade,
  refresh_hash bytea not null unique,
  user_agent text not null default '',
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  constraint sessions_refresh_hash_is_sha256 check (octet_length(refresh_hash) = 32),
  constraint sessions_expire_later check (expires_at > created_at)
);
create index sessions_user on sessions (user_id, created_at) where revoked_at is null;

create table vehicles (
  id uuid primary key default uuid_v7(),
  user_id uuid not null references users on delete cascade,
  make text not null,
  model text not null,
  year integer not null,
  color text not null,
  license_plate text not null,
  type text not null,
  capacity integer not null,
  status text not null default 'active',
  is_verified boolean not null default false,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint vehicles_year check (year between 1900 and 2100),
  constraint vehicles_capacity check (capacity between 1 and 50),
  constraint vehicles_type check (type in ('sedan', 'suv', 'hatchback', 'minivan', 'luxury', 'electric',
                                           'car', 'van', 'truck', 'motorcycle', 'bicycle')),
  constraint vehicles_status check (status in ('active', 'inactive', 'maintenance', 'suspended',
                                               'pending_verification'))
);
create unique index vehicles_plate_key on vehicles (upper(license_plate));
create index vehicles_user on vehicles (user_id);
create trigger vehicles_touch before update on vehicles for each row execute function touch_updated_at();

create table courier_profiles (
  user_id uuid primary key references users on delete cascade,
  is_active boolean not null default false,
  is_available boolean not null default false,
  vehicle_type text not null default 'bicycle',
  preferred_sizes text[] not null default '{small,medium,large}',
  max_weight_kg double precision not null default 50,
  delivery_radius_km double precision not null default 50,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint courier_profiles_limits check (max_weight_kg > 0 and delivery_radius_km > 0),
  constraint courier_profiles_sizes check (preferred_sizes <@ '{small,medium,large,custom}'::text[])
);
create trigger courier_profiles_touch before update on courier_profiles
  for each row execute function touch_updated_at();

-- A polygon with policy and prices; the smallest that contains a pickup wins. `policy` and `prices` hold
-- only what differs from the defaults in code.
create table areas (
  id text primary key,
  name text not null,
  shard text not null,
  polygon geometry(MultiPolygon, 4326) not null,
  policy jsonb not null default '{}',
  prices jsonb not null default '{}',
  currency text not null,
  paused boolean not null default false,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint areas_id_shape check (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
  constraint areas_currency check (currency ~ '^[A-Z]{3}$'),
  constraint areas_polygon check (ST_IsValid(polygon) and not ST_IsEmpty(polygon)),
  constraint areas_objects check (jsonb_typeof(policy) = 'object' and jsonb_typeof(prices) = 'object')
);
create index areas_polygon_gist on areas using gist (polygon);
create index areas_shard on areas (shard);
create trigger areas_touch before update on areas for each row execute function touch_updated_at();

-- What administrators and commands of the shell did. No key to users: the log outlives accounts.
create table audit_log (
  id uuid primary key default uuid_v7(),
  at timestamptz not null default now(),
  actor_id uuid,
  action text not null,
  subject_type text not null,
  subject_id text not null,
  details jsonb not null default '{}'
);
create index audit_log_subject on audit_log (subject_type, subject_id, at);
create index audit_log_at on audit_log (at);
