-- What the match needs to know of people: valid papers, what a courier takes, and who does not want to meet whom.

-- A licence is a person's, insurance and registration are a vehicle's: `subject_id` is the one or the other.
create table papers (
  subject_id uuid not null,
  kind text not null,
  valid_until timestamptz not null,
  updated_at timestamptz not null default now(),
  primary key (subject_id, kind),
  constraint papers_kind check (kind in ('licence', 'insurance', 'registration'))
);
create trigger papers_touch before update on papers for each row execute function touch_updated_at();

-- The drivers' papers and the parcels they take, as the match wants them; $2 is the vehicle, where there is one.
create function papers_of(user_id uuid, vehicle_id uuid) returns jsonb language sql stable parallel safe as $$
  select coalesce(jsonb_object_agg(kind, (extract(epoch from valid_until) * 1000)::bigint), '{}')
    from papers where subject_id in (user_id, vehicle_id)
$$;

-- No list of sizes means all of them. The default was nobody's choice: there was no way to change it.
alter table courier_profiles drop constraint courier_profiles_sizes;
alter table courier_profiles alter column preferred_sizes set default '{}';
update courier_profiles set preferred_sizes = '{}' where preferred_sizes = '{small,medium,large}';
alter table courier_profiles add constraint courier_profiles_sizes check (cardinality(preferred_sizes) <= 20);

-- Nothing is deleted: nodes ask for what has changed (`changed_at`), and a row that is gone would tell them nothing.
create table blocks (
  blocker_id uuid not null references users on delete cascade,
  blocked_id uuid not null references users on delete cascade,
  stands boolean not null default true,
  by_admin boolean not null default false,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (blocker_id, blocked_id),
  constraint blocks_not_oneself check (blocker_id <> blocked_id)
);
create index blocks_changed_at on blocks (changed_at);
create index blocks_blocked on blocks (blocked_id);
