-- Bookings, money, reviews and notices: owned by PostgreSQL, written here first; what a room must hear of
-- them goes through the outbox in the same transaction. Jobs are named without a foreign key, because their
-- rows come later, from the drain.

create table bookings (
  id uuid primary key default uuid_v7(),
  ride_id uuid not null,
  passenger_id uuid not null references users,
  seats_booked integer not null,
  total_minor bigint not null,
  platform_fee_minor bigint not null default 0,
  currency text not null,
  pickup geography(Point, 4326),
  pickup_address text not null default '',
  dropoff geography(Point, 4326),
  dropoff_address text not null default '',
  status text not null default 'pending',
  payment_status text not null default 'pending',
  cancel_reason text not null default '',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint bookings_seats check (seats_booked between 1 and 50),
  constraint bookings_money check (total_minor >= 0 and platform_fee_minor between 0 and total_minor),
  constraint bookings_currency check (currency ~ '^[A-Z]{3}$'),
  constraint bookings_status check (status in ('pending', 'confirmed', 'cancelled', 'completed')),
  constraint bookings_payment_status check (payment_status in ('pending', 'completed', 'failed', 'refunded'))
);
-- One live booking each; a cancelled one does not stand in the way of the next.
create unique index bookings_live on bookings (ride_id, passenger_id) where status in ('pending', 'confirmed');
create index bookings_passenger on bookings (passenger_id, created_at, id);
create trigger bookings_touch before update on bookings for each row execute function touch_updated_at();

create table payments (
  id uuid primary key default uuid_v7(),
  job_id uuid not null,
  booking_id uuid references bookings,
  payer_id uuid not null references users,
  recipient_id uuid not null references users,
  amount_minor bigint not null,
  platform_fee_minor bigint not null default 0,
  currency text not null,
  method text not null,
  provider text not null default '',
  provider_ref text,
  status text not null default 'pending',
  processed_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint payments_money check (amount_minor > 0 and platform_fee_minor between 0 and amount_minor),
  constraint payments_currency check (currency ~ '^[A-Z]{3}$'),
  constraint payments_method check (method in ('cash', 'card', 'wallet', 'mobile_money')),
  constraint payments_status check (status in ('pending', 'completed', 'failed', 'refunded')),
  constraint payments_processed check (status <> 'completed' or processed_at is not null),
  unique (provider, provider_ref)
);
-- A job is paid once.
create unique index payments_once on payments (job_id, payer_id) where status in ('pending', 'completed');
create index payments_recipient on payments (recipient_id, created_at, id);
create trigger payments_touch before update on payments for each row execute function touch_updated_at();

create table reviews (
  id uuid primary key default uuid_v7(),
  job_id uuid not null,
  reviewer_id uuid not null references users,
  reviewed_id uuid not null references users,
  rating integer not null,
  comment text not null default '',
  is_anonymous boolean not null default false,
  created_at timestamptz not null default now(),
  constraint reviews_rating check (rating between 1 and 5),
  constraint reviews_not_oneself check (reviewer_id <> reviewed_id),
  constraint reviews_comment check (length(comment) <= 2000),
  unique (job_id, reviewer_id)
);
create index reviews_reviewed on reviews (reviewed_id, created_at);

create table notifications (
  id uuid primary key default uuid_v7(),
  user_id uuid not null references users on delete cascade,
  type text not null,
  title text not null,
  message text not null,
  data jsonb not null default '{}',
  read_at timestamptz,
  created_at timestamptz not null default now(),
  constraint notifications_shape check (length(type) between 1 and 50 and length(title) between 1 and 200)
);
create index notifications_user on notifications (user_id, created_at, id);
create index notifications_unread on notifications (user_id) where read_at is null;

-- What a room must hear of a change made in PostgreSQL; taken in order of id, `sent_at` once it is a fact.
create table outbox (
  id bigint generated always as identity primary key,
  shard text not null,
  room text not null,
  event text not null,
  payload jsonb not null,
  created_at timestamptz not null default now(),
  sent_at timestamptz,
  constraint outbox_room check (room ~ '^(user|ride|package):[^\s]+$' and event <> '')
);
create index outbox_unsent on outbox (shard, id) where sent_at is null;
