-- What the console's live map asks PostgreSQL.

-- name: without_timers
-- Ids of who has no timer in the shard's Redis: silent drivers, and jobs that wait for a person; the newest $2 of each.
(select 'driver' as what, id::text from drivers where shard = $1 and state = 'stale' order by committed_at desc limit $2)
union all
(select 'job', id::text from rides where shard = $1 and ended_at is null and needs_person <> ''
  order by id desc limit $2)
union all
(select 'job', id::text from packages where shard = $1 and ended_at is null and needs_person <> ''
  order by id desc limit $2)
