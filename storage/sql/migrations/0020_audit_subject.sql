-- What was done to one thing is asked by its id alone.

drop index audit_log_subject;
create index audit_log_subject on audit_log (subject_id, at, id);
