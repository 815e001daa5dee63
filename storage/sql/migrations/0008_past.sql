-- A third stream: fixes that phones recorded without a connection. They are acked, and so never shed as live ones are.
alter table drain_cursors drop constraint drain_cursors_stream;
alter table drain_cursors add constraint drain_cursors_stream check (stream in ('facts', 'fixes', 'past'));
