-- `relocations` is no field of a policy any more: no server ever heeded it, and a policy that names it would be refused.
-- It goes from every version, without a new one: nothing that holds has changed.
alter table areas disable trigger areas_number_policy;
alter table areas disable trigger areas_keep_policy;
update areas set policy = policy - 'relocations' where policy ? 'relocations';
update area_policies set policy = policy - 'relocations' where policy ? 'relocations';
alter table areas enable trigger areas_number_policy;
alter table areas enable trigger areas_keep_policy;
