-- An offer that the driver's phone never showed him went on to the next without a mark against him.
alter table offers drop constraint offers_state;
alter table offers add constraint offers_state check (state in ('open', 'accepted', 'declined', 'expired', 'withdrawn', 'lost', 'unseen'));
