-- What admins do in the console. A command that PostgreSQL owns keeps its first answer beside its line of the audit
-- log, so that the same `commandId` of the same person again has no second effect: `content` is a digest of what was
-- asked. Lines of what was done to live jobs come with the drain and have none of these.
alter table audit_log add column command_id text, add column content text, add column answer jsonb;
create unique index audit_log_command on audit_log (actor_id, command_id) where command_id is not null;
drop index audit_log_at;
create index audit_log_order on audit_log (at, id);
create index audit_log_actor on audit_log (actor_id, at, id);
drop index dead_letters_at;
create index dead_letters_order on dead_letters (at, id);
create index drivers_order on drivers (committed_at, id);
