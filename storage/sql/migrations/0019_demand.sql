-- Requests, and vehicles that were free, by H3 cell (resolution 8) and quarter of an hour.
create table demand_counts (
  area_id text not null references areas on delete cascade,
  quarter_at timestamptz not null,
  cell bigint not null,
  requests integer not null,
  supply real,
  primary key (area_id, quarter_at, cell),
  constraint demand_counts_requests check (requests >= 0),
  constraint demand_counts_supply check (supply >= 0)
);
