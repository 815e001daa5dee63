-- Why the match chose whom it chose. Read by storage/decisions.py.

-- name: of_job
-- The decisions about a job, in order, for administrators, with what came of the offer; the newest $3 behind ($4, $5).
select d.id, d.kind, d.vehicle_class, d.area_id, d.policy, d.path, d.driver_id, d.more, d.shadow, d.shadow_driver_id,
       d.at, o.state as offer_state, o.reason as offer_reason, o.seen_at, o.ended_at,
       coalesce((select jsonb_agg(jsonb_build_object('driverId', c.driver_id, 'name', w.name, 'rank', c.rank,
                   'reason', c.reason, 'distanceM', c.distance_m, 'etaSeconds', c.eta_s, 'costSeconds', c.cost_s,
                   'shadowCostSeconds', c.shadow_s) order by c.rank)
                   from decision_drivers c left join drivers w on w.id = c.driver_id
                  where c.decision_id = d.id), '[]') as considered
  from decisions d left join offers o on o.id = d.id
 where is_admin($1) and d.job_id = $2 and (d.at, d.id) < ($4, $5)
 order by d.at desc, d.id desc limit $3

-- name: of_driver
-- $1's own part in decisions, the newest $2 behind ($3, $4): nothing of anybody else. Which job it was about he knows
-- only where he was asked; how far he was only roughly, or a few of these would tell where somebody waits; and never
-- that somebody blocks him. A decision's own id names its job, so he gets a digest.
select md5(c.decision_id) as id, c.at, d.kind, d.vehicle_class, d.area_id, d.policy, d.path, c.rank,
       case c.reason when 'blocked' then 'excluded' else c.reason end as reason,
       greatest(1, round(c.eta_s / 60.0)) as eta_min, case when c.reason = 'chosen' then d.job_id end as job_id
  from decision_drivers c join decisions d on d.id = c.decision_id
 where c.driver_id = $1 and c.at <= $3 and (c.at, md5(c.decision_id)) < ($3, $4)
 order by c.at desc, md5(c.decision_id) desc limit $2
