-- Fixes that the stream lost before they were drained (it is bounded, and gives way when memory is short). Each
-- entry carries how many fixes were ever put on the stream up to it: `number` is that of the last one drained, and
-- what is missing in between was thinned. rows + refused + thinned = number, as long as Redis keeps its count.
alter table drain_cursors add column number bigint not null default 0, add column thinned bigint not null default 0;

drop view drain_lag;
create view drain_lag as
select c.shard, c.stream, c.lag_ms, c.reached_at, c.entries, c.rows, c.refused, c.thinned,
       extract(epoch from clock_timestamp() - c.updated_at)::double precision as silent_s
  from drain_cursors c;
