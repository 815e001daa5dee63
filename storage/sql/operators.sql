-- What admins change that PostgreSQL owns. Read by storage/operators.py.

-- name: may
-- Whether he is an admin, now; his account stays as it is until the transaction is over.
select exists (select from users where id = $1 and role = 'admin' and status = 'active' for share)

-- name: first_answer
-- What this command of his was answered before.
select content, answer from audit_log where actor_id = $1 and command_id = $2

-- name: note
-- The line of the audit log, with the answer that a repeat gets.
insert into audit_log (actor_id, action, subject_type, subject_id, details, command_id, content, answer)
values ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: user
-- An account, until the transaction is over.
select status, role from users where id = $1 for update

-- name: set_status
-- Who is not active is let in no more; his open sockets are closed by the nodes.
update users set status = $2 where id = $1

-- name: apart
-- Whether an administrator has said that $1 shall not meet $2, until the transaction is over.
select by_admin and stands from blocks where blocker_id = $1 and blocked_id = $2 for update

-- name: area
-- An area, until the transaction is over.
select policy, prices, paused, version from areas where id = $1 for update

-- name: set_area
-- Every change is a new version, which the nodes take up.
update areas set policy = $2, prices = $3, paused = $4, version = version + 1 where id = $1 returning version

-- name: letter
-- A row that was refused, until the transaction is over.
select stream, entry_id, item, target, sqlstate, reason, content from dead_letters where id = $1 for update

-- name: forget_letter
-- It is written, or nobody wants it.
delete from dead_letters where id = $1

-- name: still_refused
-- Why it is refused today.
update dead_letters set sqlstate = $2, reason = $3 where id = $1
