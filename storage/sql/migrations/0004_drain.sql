-- The drain's own state: where it stands on each stream, and what PostgreSQL refused.

-- One row per shard and stream; every write is a compare-and-set on (life, last_id), in the transaction of
-- the rows, so each stream entry takes effect once however many drains run. `reached_at`: everything the
-- shard's Redis had on this stream at that moment of its clock is in these tables.
create table drain_cursors (
  shard text not null,
  stream text not null,
  life text not null default '',
  last_id text not null default '0-0',
  reached_at timestamptz,
  lag_ms bigint not null default 0,
  entries bigint not null default 0,
  rows bigint not null default 0,
  refused bigint not null default 0,
  updated_at timestamptz not null default now(),
  primary key (shard, stream),
  constraint drain_cursors_stream check (stream in ('facts', 'fixes')),
  constraint drain_cursors_last_id check (last_id ~ '^[0-9]+-[0-9]+$')
);

-- A row that PostgreSQL refused, alone, with the reason. `content` is bytes, because the text itself may be
-- what was refused. The key makes a second reading of the same entry harmless.
create table dead_letters (
  id uuid primary key default uuid_v7(),
  shard text not null,
  life text not null,
  stream text not null,
  entry_id text not null,
  item integer not null,
  target text not null,
  sqlstate text not null,
  reason text not null,
  content bytea not null,
  at timestamptz not null default now(),
  unique (shard, life, stream, entry_id, item)
);
create index dead_letters_at on dead_letters (at);
