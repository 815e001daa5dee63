-- An area's policy is versioned by itself (`areas.version` counts every change of the row). All versions stay in
-- area_policies, whoever wrote them; `areas.policy` is the one that holds, `policy_before` the numbers of those that
-- held before it, the last one last; `shadow_version` runs beside it and only says what it would have chosen.

create table area_policies (
  area_id text not null,
  version integer not null,
  policy jsonb not null,
  made_at timestamptz not null default now(),
  primary key (area_id, version),
  constraint area_policies_object check (jsonb_typeof(policy) = 'object')
);

alter table areas add column policy_version integer not null default 1,
                  add column policy_before integer[] not null default '{}',
                  add column shadow_version integer;
insert into area_policies (area_id, version, policy) select id, 1, policy from areas;

-- Whoever writes another policy into an area makes a version of it; promote and rollback name one that is there.
-- (An INSERT … ON CONFLICT fires the first trigger for the row that it does not insert; the second only for what is.)
create function number_area_policy() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    new.policy_version := coalesce((select max(version) from area_policies where area_id = new.id), 0) + 1;
  elsif new.policy_version = old.policy_version and new.policy <> old.policy then
    new.policy_version := (select max(version) from area_policies where area_id = new.id) + 1;
    new.policy_before := (old.policy_before || old.policy_version)[greatest(1, cardinality(old.policy_before) - 18):];
  end if;
  return new;
end
$$;
create trigger areas_number_policy before insert or update on areas for each row execute function number_area_policy();

create function keep_area_policy() returns trigger language plpgsql as $$
begin
  insert into area_policies (area_id, version, policy) values (new.id, new.policy_version, new.policy)
  on conflict do nothing;
  return null;
end
$$;
create trigger areas_keep_policy after insert or update on areas for each row execute function keep_area_policy();
