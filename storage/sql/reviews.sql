-- Stars of the parties of a job. Read by storage/reviews.py.

-- name: rate
-- $1's $4 stars for the other party of the $2 (kind) of id $3, if it is completed and he has given none yet: the job's
-- status, and the stars that stand now. No row where he is none of its parties.
with job as (
  select id, status, case when requester_id = $1 then driver_id else requester_id end as other
    from jobs where kind = $2 and id = $3 and $1 in (requester_id, driver_id)
), added as (
  insert into reviews (job_id, reviewer_id, reviewed_id, rating, comment)
  select id, $1, other, $4, $5 from job where status = 'completed' and other is not null
  on conflict (job_id, reviewer_id) do update set rating = reviews.rating  -- nothing: it shows those that stand
  returning rating
)
select status, (select rating from added) as rating from job;
