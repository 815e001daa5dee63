-- A finished ride teaches its area's travel times once: when it did, or was found to teach nothing.
alter table rides add column taught_at timestamptz;
create index rides_lessons on rides (shard, ended_at) where state = 'completed' and taught_at is null;
