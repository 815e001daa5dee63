-- `dispatch rehydrate` and every node that starts ask for the jobs that are not over: few among millions.
create index rides_live on rides (shard, id) where ended_at is null;
create index packages_live on packages (shard, id) where ended_at is null;
