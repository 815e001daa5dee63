-- Accounts, sessions and vehicles. Read by storage/accounts.py.

-- name: add_user
-- A new account; the unique index on lower(email) refuses a second one.
insert into users (email, password_hash, first_name, last_name, phone, date_of_birth, role)
values ($1, $2, $3, $4, $5, $6, $7)
returning id, email, phone, first_name, last_name, role, status, profile_picture,
          is_email_verified, is_phone_verified, created_at, updated_at;

-- name: user_by_email
-- For a login: the account and what its password is checked against.
select id, email, phone, first_name, last_name, role, status, profile_picture,
       is_email_verified, is_phone_verified, created_at, updated_at, password_hash
  from users where lower(email) = lower($1);

-- name: user_by_id
-- The profile.
select id, email, phone, first_name, last_name, role, status, profile_picture,
       is_email_verified, is_phone_verified, created_at, updated_at
  from users where id = $1;

-- name: change_user
-- What a person may change about himself; null leaves a field as it is. A new number is not verified.
update users
   set first_name = coalesce($2, first_name),
       last_name = coalesce($3, last_name),
       is_phone_verified = is_phone_verified and ($4::text is null or phone = $4),
       phone = coalesce($4, phone),
       profile_picture = coalesce($5, profile_picture),
       date_of_birth = coalesce($6, date_of_birth)
 where id = $1
returning id, email, phone, first_name, last_name, role, status, profile_picture,
          is_email_verified, is_phone_verified, created_at, updated_at;

-- name: open_session
-- A new session of an active user; no row when he is not active.
insert into sessions (user_id, refresh_hash, user_agent, expires_at)
select id, $2, $3, now() + make_interval(secs => $4) from users where id = $1 and status = 'active'
returning id;

-- name: seen
-- The user has just logged in or refreshed.
update users set last_active_at = now() where id = $1;

-- name: tidy_sessions
-- Forgets a user's dead sessions, and the oldest beyond the newest $2.
delete from sessions
 where user_id = $1
   and (expires_at < now() or revoked_at is not null
        or id in (select id from sessions where user_id = $1 order by created_at desc, id desc offset $2));

-- name: refresh_session
-- The session a refresh token belongs to, while it lives and its user is active.
select s.id as session_id, u.id as user_id, u.role
  from sessions s join users u on u.id = s.user_id
 where s.refresh_hash = $1 and s.revoked_at is null and s.expires_at > now() and u.status = 'active';

-- name: revoke_session
-- Logout: neither token of the session is good any more.
update sessions set revoked_at = now() where id = $1 and revoked_at is null;

-- name: who
-- One question for all handshakes of a moment, or for one request: which of these (session, user) are alive and of an
-- active user, who is he, what does he drive? Two texts, for the reason that `ended` has.
select s.id as session_id, u.id, u.role, u.first_name || ' ' || u.last_name as name, v.id as vehicle_id,
       v.make, v.model, v.year, v.color, v.license_plate, v.type, v.capacity, v.status, v.is_verified,
       p.preferred_sizes, p.max_weight_kg,
       case when u.role in ('driver', 'courier') then papers_of(u.id, v.id) end as papers
  from unnest(string_to_array($1, ','), string_to_array($2, ',')) as n (session_id, user_id)
  join sessions s on s.id = n.session_id::uuid and s.user_id = n.user_id::uuid
  join users u on u.id = s.user_id
  left join lateral (select * from vehicles
                      where user_id = u.id and status = 'active' and u.role in ('driver', 'courier')
                      order by created_at, id limit 1) v on true
  left join courier_profiles p on p.user_id = u.id and u.role = 'courier'
 where s.revoked_at is null and s.expires_at > now() and u.status = 'active';

-- name: ended
-- Of many logins, each with the role it came in with, those that `who` would not let in so any more. Two texts,
-- because encoding 10,000 ids as arrays takes the caller six times as long.
select n.session_id, n.role
  from unnest(string_to_array($1, ','), string_to_array($2, ',')) as n (session_id, role)
 where not exists (select from sessions s join users u on u.id = s.user_id
                    where s.id = n.session_id::uuid and s.revoked_at is null and s.expires_at > now()
                      and u.status = 'active' and u.role = n.role);

-- name: carrier
-- What $1 carries jobs out with: his vehicle $2, or the one that `who` names; no row where $2 is none of his.
select v.id as vehicle_id, v.make, v.model, v.year, v.color, v.license_plate, v.type, v.capacity, v.status,
       v.is_verified, p.preferred_sizes, p.max_weight_kg, papers_of(u.id, v.id) as papers
  from users u
  left join lateral (select * from vehicles
                      where user_id = u.id and status = 'active' and ($2::uuid is null or id = $2)
                      order by created_at, id limit 1) v on true
  left join courier_profiles p on p.user_id = u.id and u.role = 'courier'
 where u.id = $1 and ($2::uuid is null or v.id is not null);

-- name: put_paper
-- A paper of the person with this address ($4 null), or of his vehicle with this plate; good until $3.
insert into papers (subject_id, kind, valid_until)
select case when $4::text is null then u.id else v.id end, $2, $3
  from users u left join vehicles v on v.user_id = u.id and upper(v.license_plate) = upper($4)
 where lower(u.email) = lower($1) and ($4 is null or v.id is not null)
on conflict (subject_id, kind) do update set valid_until = excluded.valid_until
returning subject_id;

-- name: change_courier
-- The parcels that the courier with this address takes; null leaves a value as it is.
update courier_profiles p
   set preferred_sizes = coalesce($2, preferred_sizes), max_weight_kg = coalesce($3, max_weight_kg)
  from users u where u.id = p.user_id and lower(u.email) = lower($1)
returning p.user_id;

-- name: add_users
-- Many accounts at once; a password hash of '' fits no password.
insert into users (email, password_hash, first_name, last_name, phone, role)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
returning id, email;

-- name: add_sessions
-- One session for each of many users.
insert into sessions (user_id, refresh_hash, expires_at)
select user_id, refresh_hash, now() + make_interval(secs => $3)
  from unnest($1::uuid[], $2::bytea[]) as n (user_id, refresh_hash)
returning id, user_id;

-- name: add_vehicles
-- One vehicle for each of many users.
insert into vehicles (user_id, make, model, year, color, license_plate, type, capacity, is_verified)
select *, true
  from unnest($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::integer[]);

-- name: add_courier_profiles
-- The couriers' own page, active from the start.
insert into courier_profiles (user_id, vehicle_type, is_active, is_available)
select *, true, true from unnest($1::uuid[], $2::text[]) as n (user_id, vehicle_type)
    on conflict do nothing;

-- name: change_standing
-- An account's status or role; null leaves it as it is.
update users set status = coalesce($2, status), role = coalesce($3, role)
 where lower(email) = lower($1)
returning id;

-- name: job_id_taken
-- Whether a ride or package of this id is another's than $2's, or over.
select exists (select from rides where id = $1 and (passenger_id <> $2 or ended_at is not null))
    or exists (select from packages where id = $1 and (sender_id <> $2 or ended_at is not null));

-- name: audit
-- Notes what a command of the shell did.
insert into audit_log (action, subject_type, subject_id, details) values ($1, $2, $3, $4);

-- name: seed_lock
-- One seed at a time: the second waits, and then finds that it was done.
select pg_advisory_xact_lock(1936025956);

-- name: seeded
-- Whether the demo data is there.
select exists (select from audit_log where action = 'seed');
