"""What this node knows of blocks, kept up to date by asking PostgreSQL what has changed.

| when | then |
|---|---|
| PostgreSQL is away, at the start or later | server/ground.py says what counts |
| a block is made while the job searches, or the driver is online | each node knows it in seconds, by its next look |
| an offer between the two is open already | it stands: the block counts from the next one |
| two nodes know different things meanwhile | an offer is committed by what its node knows |
| a change commits after a later one was read | the last minute is asked for every time |
| a block is said twice, or lifted twice | one row, one word more of the same |
| an account is deleted | its rows are gone; nobody of that id comes again |
"""

from dispatch.blocks import Blocks
from storage.blocks import BEGINNING, Place, changes
from storage.postgis import Database


async def read_blocks(database: Database, blocks: Blocks, since: Place = BEGINNING) -> Place:
    """Takes up what has changed; answers where to go on."""
    place = since.overlapping()
    while True:
        found, after = await changes(database, place)
        for change in found:
            blocks.put(change.one, change.other, change.stands)
        if after == place:
            return max(since, place)
        place = after
