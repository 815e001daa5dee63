-- name: models
-- What the areas of a shard have learned.
select m.area_id, m.kind, m.document, m.learned_at
  from models m join areas a on a.id = m.area_id
 where a.shard = $1
 order by m.area_id, m.kind

-- name: put
-- Keeps a document unless a newer one is there already.
insert into models (area_id, kind, document, learned_at)
values ($1, $2, $3, to_timestamp($4))
on conflict (area_id, kind) do update set
  (document, learned_at) = (excluded.document, excluded.learned_at)
 where models.learned_at < excluded.learned_at
returning true
