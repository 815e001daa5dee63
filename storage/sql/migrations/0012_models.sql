-- What an area has learned from its finished jobs (travel times, demand): one document each, whose format is the
-- dispatch floor's. `learned_at` is the time of the latest job in it; an older document never replaces a newer one.
create table models (
  area_id text not null references areas on delete cascade,
  kind text not null,
  document bytea not null,
  learned_at timestamptz not null,
  updated_at timestamptz not null default now(),
  primary key (area_id, kind),
  constraint models_kind check (kind in ('eta', 'demand')),
  constraint models_document check (octet_length(document) between 1 and 33554432)
);
create trigger models_touch before update on models for each row execute function touch_updated_at();
