-- Why the match chose whom it chose. Fed by the drain, deleted after a while (DISPATCH_DECISIONS_DAYS).

create table decisions (
  id text primary key,
  shard text not null,
  job_id uuid not null,
  kind text not null,
  vehicle_class text not null,
  area_id text not null,
  policy integer not null,
  path text not null,
  driver_id uuid,
  more integer not null,
  shadow integer,
  shadow_driver_id uuid,
  at timestamptz not null,
  constraint decisions_kind check (kind in ('ride', 'package')),
  constraint decisions_path check (path in ('nearest', 'batch', 'rematch')),
  constraint decisions_shadow check (shadow_driver_id is null or shadow is not null)
);
create index decisions_job on decisions (job_id, at);
create index decisions_at on decisions (at);

-- Whom it looked at; a driver reads his own rows of it and nobody else's.
create table decision_drivers (
  decision_id text not null,
  driver_id uuid not null,
  at timestamptz not null,
  rank integer not null,
  reason text not null,
  distance_m integer not null,
  eta_s integer not null,
  cost_s integer not null,
  shadow_s integer,
  primary key (decision_id, driver_id)
);
create index decision_drivers_driver on decision_drivers (driver_id, at);
