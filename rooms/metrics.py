"""What Prometheus reads of the rooms; labels are fixed words, never what a client sent."""

from collections import Counter as Count
from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Tallies(Collector):
    """A counter for the hot path: `n[labels] += 1` takes no lock and no call; Prometheus reads it when it asks."""

    def __init__(self, name: str, about: str, labels: list[str]) -> None:
        self.n: Count[tuple[str, ...]] = Count()
        self._family = name, about, labels
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        name, about, labels = self._family
        family = CounterMetricFamily(name, about, labels=labels)
        for values, n in list(self.n.items()):
            family.add_metric(values, n)
        yield family


FIXES = Tallies("dispatch_fixes", "Fixes heard, by what became of them.", ["outcome"])
EVENTS = Tallies("dispatch_events", "Events heard, by name and answer.", ["event", "code"])
NOTES = Tallies(
    "dispatch_decisions_noted",
    "Decisions of the match without an offer, by what became of them.",
    ["outcome"],
)
FACTS = Counter("dispatch_facts_tailed", "Facts read from the log.")
UNREADABLE = Counter("dispatch_facts_unreadable", "Facts read from the log that could not be told.")
GAPS = Counter("dispatch_log_gaps", "Times that facts were missed and all clients here sent to come anew.")
RESUMED = Counter("dispatch_rooms_resumed", "Rooms asked for by sync, by what was answered.", ["outcome"])
FRAMES = Tallies("dispatch_frames", "Frames handed to clients.", ["kind"])
CLOSED = Counter("dispatch_sockets_closed", "Sockets closed by the server, by reason.", ["reason"])
SOCKETS = Gauge("dispatch_sockets", "Sockets open now.")
TICK_S = Histogram(
    "dispatch_tick_seconds",
    "A tick of fixes, from sending to Redis' answer.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2),
)
COMMAND_S = Histogram(
    "dispatch_command_seconds",
    "A command, from hearing it to its answer.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
ROUNDS = Tallies("dispatch_match_rounds", "Beats of the batch match, by what they were.", ["outcome"])
OFFERS = Tallies("dispatch_match_offers", "Pairs of the batch match, by what became of them.", ["outcome"])
LEFT = Tallies("dispatch_match_left", "What a round left to the next, by the bound it met.", ["bound"])
ROUND_BLOCKED_S = Histogram(
    "dispatch_match_blocked_seconds",
    "The longest a round kept the process from everything else.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
)
LOOKS = Tallies("dispatch_demand_looks", "Beats of the look at demand, by what they were.", ["outcome"])
ROUTER = Tallies("dispatch_router", "Questions to the router, by how they went.", ["outcome"])
RECALLED = Counter("dispatch_logins_recalled", "Logins let in while PostgreSQL could not be asked.")
UNRELAYED = Counter("dispatch_unrelayed", "Volatile events for members on other nodes that were dropped.")
SHED = Counter("dispatch_fixes_shed", "Kept fixes that were merged away because Redis did not take them.")
