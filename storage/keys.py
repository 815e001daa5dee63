"""Every Redis key of a shard, one line each; all share the shard's hash tag, so that one script may touch them.

Permanent (never expire): life, due, wait, asked, coming, want, facts, fixes, fixed, past, spot, nodes. All others
carry a TTL.
"""

from functools import lru_cache

from storage.records import JobId, OfferId, UserId


def life(s: str) -> str:  # HASH run_id, epoch, token: the incarnation of this shard's Redis
    return f"{{{s}}}:life"


def settle(s: str) -> str:  # STRING written so that WAIT has something to wait for
    return f"{{{s}}}:settle"


def facts(s: str) -> str:  # STREAM of all facts; nodes tail it, the drain reads and trims it
    return f"{{{s}}}:facts"


def fixes(s: str) -> str:  # STREAM of ticks: all fixes of one node's tick, msgpack
    return f"{{{s}}}:fixes"


def fixed(s: str) -> str:  # STRING how many fixes were ever put on that stream
    return f"{{{s}}}:fixed"


def past(s: str) -> str:  # STREAM of batches of fixes, msgpack; acked, so never shed; the drain trims it
    return f"{{{s}}}:past"


def due(s: str) -> str:  # ZSET "job:<id>" or "driver:<id>" -> Redis ms at which somebody must look at it
    return f"{{{s}}}:due"


def wait(s: str) -> str:  # ZSET job -> ms since which it searches
    return f"{{{s}}}:wait"


def asked(s: str) -> str:  # ZSET job -> Redis ms until which it is held for the driver who was offered it
    return f"{{{s}}}:asked"


def coming(s: str, area_id: str) -> str:  # ZSET job of an area that may change its driver -> since he has it
    return f"{{{s}}}:coming:{area_id}"


def want(s: str, vehicle_class: str) -> str:  # GEO of the pickups of jobs of a class that search
    return f"{{{s}}}:want:{vehicle_class}"


def leader(s: str) -> str:  # STRING token of the node that matches those who wait
    return f"{{{s}}}:leader"


def seer(s: str) -> str:  # STRING token of the node that looks at demand and supply
    return f"{{{s}}}:seer"


def heat(s: str) -> str:  # HASH area -> the newest look at its demand and supply, msgpack
    return f"{{{s}}}:heat"


def spot(s: str) -> str:  # HASH driver -> "generation cell class,class": where the index holds him
    return f"{{{s}}}:spot"


def tick(s: str, node: str) -> str:  # STRING "boot tick": the node's last tick, so that a repeat does nothing
    return f"{{{s}}}:tick:{node}"


def looked(s: str, user: UserId | str) -> str:  # STRING while the user may not look for vehicles nearby again
    return f"{{{s}}}:looked:{user}"


def nodes(s: str) -> str:  # ZSET node -> Redis ms until which it counts as alive
    return f"{{{s}}}:nodes"


def copied(s: str) -> str:  # HASH at, copy: areas and blocks as PostgreSQL had them then, msgpack
    return f"{{{s}}}:copied"


def pulse(s: str, node: str) -> str:  # STRING what a node last said of itself, JSON
    return f"{{{s}}}:pulse:{node}"


def at(s: str, room: str) -> str:  # ZSET "node user" -> Redis ms until which that node has that member
    return f"{{{s}}}:at:{room}"


def confirmed(
    s: str, session: str
) -> str:  # STRING who a login is, and when PostgreSQL last said so, msgpack
    return f"{{{s}}}:confirmed:{session}"


def mail(s: str, node: str) -> str:  # STREAM of volatile events for members on that node
    return f"{{{s}}}:mail:{node}"


def pos(s: str, user: str) -> str:  # STRING packed last fix of a driver who is not in the index
    return f"{{{s}}}:pos:{user}"


def batch(s: str, user: str, batch_id: str) -> str:  # HASH content, answer: fixes that were kept already
    return f"{{{s}}}:batch:{user}:{batch_id}"


def index(s: str, vehicle_class: str, cell: int | str) -> str:  # HASH entry -> packed position
    return f"{{{s}}}:idx:{vehicle_class}:{cell}"


def soon(vehicle_class: str) -> str:
    """The class in which a driver of a class stands where, and as of when, his ride will be over (`is_soon`)."""
    return f"{vehicle_class}~"


def is_soon(classes: str) -> bool:
    return classes.endswith("~")


def driver(s: str, driver_id: UserId | str) -> str:  # HASH v, r
    return f"{{{s}}}:driver:{driver_id}"


def job(s: str, job_id: JobId | str) -> str:  # HASH v, r
    return f"{{{s}}}:job:{job_id}"


def offer(s: str, offer_id: OfferId | str) -> str:  # HASH v, r
    return f"{{{s}}}:offer:{offer_id}"


def mine(s: str, user: UserId | str) -> str:  # SET of the user's jobs that are not over, as requester
    return f"{{{s}}}:mine:{user}"


def named(s: str, driver: UserId | str) -> str:
    # SET of jobs that waited for a person and had him as driver: his plan may not know of them, nor he be it still
    return f"{{{s}}}:named:{driver}"


def head(s: str, room: str) -> str:  # HASH epoch, seq and the answers of recent commands
    return f"{{{s}}}:head:{room}"


def log(s: str, room: str) -> str:  # STREAM of the room's facts, id <seq>-0, capped
    return f"{{{s}}}:room:{room}"


@lru_cache(maxsize=65_536)
def entry(driver_id: str) -> bytes:
    """The field of a driver in the index: a UUID as its 16 bytes, any other id as it is; one of 16 bytes gets a NUL,
    which no id holds, so that none is taken for a UUID."""
    if len(driver_id) == 36:
        try:
            packed = bytes.fromhex(driver_id.replace("-", ""))
        except ValueError:
            return driver_id.encode()
        if len(packed) == 16 and _dashed(packed) == driver_id:
            return packed
    text = driver_id.encode()
    return text + b"\0" if len(text) == 16 else text


@lru_cache(maxsize=65_536)
def entered(field: bytes) -> str:
    """Whose entry this is; the way back of `entry`."""
    return _dashed(field) if len(field) == 16 else field.rstrip(b"\0").decode()


def _dashed(packed: bytes) -> str:
    h = packed.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
