-- name: areas
-- All areas, or those of one shard.
select id, name, shard, ST_AsGeoJSON(polygon)::jsonb as polygon, policy, prices, currency, paused, version
  from areas where $1::text is null or shard = $1
 order by id

-- name: put
-- Adds or replaces an area; every replacement is a new version.
insert into areas (id, name, shard, polygon, policy, prices, currency, paused)
values ($1, $2, $3, ST_Multi(ST_SetSRID(ST_GeomFromGeoJSON($4::text), 4326)), $5, $6, $7, $8)
on conflict (id) do update set
  (name, shard, polygon, policy, prices, currency, paused, version)
  = (excluded.name, excluded.shard, excluded.polygon, excluded.policy, excluded.prices, excluded.currency,
     excluded.paused, areas.version + 1)
returning id, name, shard, ST_AsGeoJSON(polygon)::jsonb as polygon, policy, prices, currency, paused, version
