-- Who does not want to meet whom. Read by storage/blocks.py.

-- name: block
-- $1 does not want to meet $2: somebody of his trips, unless an administrator ($3) says so; at most $4 stand.
insert into blocks (blocker_id, blocked_id, by_admin)
select $1, $2, $3
 where ($3 or exists (select from rides where passenger_id = $1 and driver_id = $2)
           or exists (select from rides where passenger_id = $2 and driver_id = $1)
           or exists (select from packages where sender_id = $1 and courier_id = $2)
           or exists (select from packages where sender_id = $2 and courier_id = $1))
   and exists (select from users where id = $1) and exists (select from users where id = $2)
   and (select count(*) from blocks where blocker_id = $1 and stands and blocked_id <> $2) < $4
on conflict (blocker_id, blocked_id) do update
   set stands = true, by_admin = excluded.by_admin or (blocks.stands and blocks.by_admin), changed_at = clock_timestamp()
returning true

-- name: standing
-- How many $1 blocks.
select count(*) from blocks where blocker_id = $1 and stands

-- name: unblock
-- $1 would meet $2 again; what an administrator said, only an administrator ($3) takes back.
update blocks set stands = false, changed_at = clock_timestamp()
 where blocker_id = $1 and blocked_id = $2 and stands and ($3 or not by_admin)

-- name: blocked
-- Whom $1 blocks by himself, the latest first; there are not many.
select u.id, u.first_name, b.changed_at
  from blocks b join users u on u.id = b.blocked_id
 where b.blocker_id = $1 and b.stands and not b.by_admin order by b.changed_at desc, u.id

-- name: changes
-- What changed since $1, behind ($1, $2, $3), and whether any of the two blocks the other now; $4 at most.
select b.changed_at, b.blocker_id, b.blocked_id,
       b.stands or exists (select from blocks o where o.blocker_id = b.blocked_id
                              and o.blocked_id = b.blocker_id and o.stands) as stands
  from blocks b where (b.changed_at, b.blocker_id, b.blocked_id) > ($1, $2, $3)
 order by b.changed_at, b.blocker_id, b.blocked_id limit $4
