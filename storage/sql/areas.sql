-- name: areas
-- All areas, or those of one shard.
select id, name, shard, ST_AsGeoJSON(polygon)::jsonb as polygon, policy, prices, currency, paused, version,
       policy_version, shadow_version,
       (select p.policy from area_policies p where (p.area_id, p.version) = (areas.id, shadow_version)) as shadow
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
returning id, name, shard, ST_AsGeoJSON(polygon)::jsonb as polygon, policy, prices, currency, paused, version,
       policy_version, shadow_version,
       (select p.policy from area_policies p where (p.area_id, p.version) = (areas.id, shadow_version)) as shadow

-- name: policies
-- The policies that an area ever had or tried, the newest first, and which of them hold now.
select p.version, p.made_at, p.policy, p.version = a.policy_version as holds,
       p.version is not distinct from a.shadow_version as shadow
  from areas a join area_policies p on p.area_id = a.id
 where a.id = $1 order by p.version desc

-- name: shadow
-- A new version that runs beside the one that holds; answers its number.
with area as (select id from areas where id = $1 for update),
made as (
  insert into area_policies (area_id, version, policy)
  select id, (select max(version) + 1 from area_policies where area_id = $1), $2 from area
  returning version
)
update areas set shadow_version = made.version, version = areas.version + 1 from made where id = $1
returning areas.shadow_version

-- name: drop_shadow
-- Nothing runs beside any more.
update areas set shadow_version = null, version = version + 1 where id = $1 and shadow_version is not null
returning policy_version

-- name: promote
-- The shadow holds from now on.
update areas a
   set policy = p.policy, policy_version = p.version, shadow_version = null, version = a.version + 1,
       policy_before = (a.policy_before || a.policy_version)[greatest(1, cardinality(a.policy_before) - 18):]
  from area_policies p
 where a.id = $1 and (p.area_id, p.version) = (a.id, a.shadow_version)
returning a.policy_version

-- name: rollback
-- The one that held before holds again.
update areas a
   set policy = p.policy, policy_version = p.version, version = a.version + 1,
       policy_before = a.policy_before[:cardinality(a.policy_before) - 1]
  from area_policies p
 where a.id = $1 and (p.area_id, p.version) = (a.id, a.policy_before[cardinality(a.policy_before)])
returning a.policy_version
