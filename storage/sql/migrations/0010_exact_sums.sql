-- Money is summed as numeric and becomes the apps' JSON number at the end: sums of doubles read 878.3299999999998.
create or replace view ride_analytics as
select (created_at at time zone 'UTC')::date as date,
       currency,
       count(*) as total_rides,
       count(*) filter (where state = 'completed') as completed,
       count(*) filter (where state in ('cancelled', 'no_show')) as cancelled,
       count(*) filter (where state = 'no_driver') as no_driver,
       avg(money_major(fare_minor, currency)) filter (where state = 'completed') as avg_fare,
       coalesce(sum(money_major(fare_minor, currency)::numeric)
         filter (where state = 'completed'), 0)::double precision as total_revenue,
       avg(extract(epoch from assigned_at - created_at)) filter (where assigned_at is not null) as avg_wait_s,
       avg(offers) as offers_per_ride
  from rides
 where created_at >= now() - interval '30 days'
 group by 1, 2;

create or replace view courier_analytics as
select u.id as courier_id,
       u.status = 'active' and coalesce(p.is_active, true) as is_active,
       coalesce(d.state in ('idle', 'offered', 'busy'), false) as is_available,
       coalesce(k.taken, 0) as taken,
       coalesce(k.delivered, 0) as delivered,
       coalesce(k.earnings, 0) as earnings,
       coalesce(k.delivered::double precision / nullif(k.ended, 0), 0) as success_rate,
       coalesce(v.rating, 0) as rating
  from users u
  left join courier_profiles p on p.user_id = u.id
  left join drivers d on d.id = u.id
  left join (select courier_id, count(*) as taken,
                    count(*) filter (where state = 'delivered') as delivered,
                    count(*) filter (where ended_at is not null) as ended,
                    (sum(money_major(fare_minor, currency)::numeric)
                      filter (where state = 'delivered'))::double precision as earnings
               from packages where courier_id is not null group by courier_id) k on k.courier_id = u.id
  left join (select reviewed_id, avg(rating)::double precision as rating
               from reviews group by reviewed_id) v on v.reviewed_id = u.id
 where u.role = 'courier' or p.user_id is not null;
