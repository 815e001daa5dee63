"""The words that fields of the protocol take, for docs/protocol.md: from the tables that decide, and only from them."""

from collections.abc import Iterable

from dispatch.lifecycle import FROM_WORD, NEEDS, TABLES, WORDS, tellers
from dispatch.policy import Policy
from dispatch.pricing import Prices
from dispatch.rules.go_online import PARCEL_CLASS

_NEEDED = {
    "otp": "`otp`, where the area asks for one (`otp_required`)",
    "proof.code": "`proof.code`, which the sender was told at `picked_up`",
    "reason": "`reason`",
    "proof": "`proof` with a code, photo or signature",
}


def vocabulary() -> list[str]:
    """The section as lines of Markdown."""
    prices = Prices()
    rides, tiers, sizes = (
        _words(table) for table in (prices.rides, prices.parcel_tiers, prices.parcel_sizes_pct)
    )
    lines = [
        "## Words",
        "",
        "What an area serves is in its prices; these are the defaults. Another word is refused with the list of those",
        "that the place serves.",
        "",
        "| field | words |",
        "|---|---|",
        f"| `classes` of `go_online` | {rides}: is offered rides; `{PARCEL_CLASS}`: is offered packages. "
        "`serves` in the ack says which |",
        f"| `class` of `request_ride`, `classes` of `quote` for a ride | {rides} |",
        f"| `tier` of `request_package`, `classes` of `quote` for a package | {tiers} |",
        f"| `size` of `request_package` and `quote` | {sizes} |",
        "",
    ]
    for kind in TABLES:
        lines += _statuses(kind)
    return lines


def _words(table: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in table)


def _statuses(kind: str) -> list[str]:
    """What a party may say in the event that moves a job; the rest of the table is the system's."""
    lines = [
        f"### `status` of `{kind}_status_update`",
        "",
        "P its passenger or sender, D its driver, A an admin, who needs no code but always a `reason`.",
        "",
        "| status | in state | by | with it |",
        "|---|---|---|---|",
    ]
    for to in WORDS[kind]:
        ways: dict[str, list[str]] = {}
        for at in TABLES[kind]:
            if by := tellers(kind, at, to):
                ways.setdefault(by, []).append(at)
        said = [to, *(word for word, meant in FROM_WORD[kind].items() if to in meant.values())]
        words = " or ".join(f"`{word}`" for word in said)
        for by, states in ways.items():
            lines.append(f"| {words} | {', '.join(states)} | {' '.join(by)} | {_with(to, by)} |")
    return [*lines, ""]


def _with(to: str, by: str) -> str:
    if to == "cancelled" and by == "A":
        return "`reason`"
    if to == "no_show":
        wait = f"after the area's `no_show_wait_s` at the pickup ({Policy().no_show_wait_s:g} s by default)"
        return f"{wait}, in a booked ride not before so long after its hour"
    if to == "searching":
        return "gives the job back; a driver's `cancelled` means the same"
    if to == "picked_up":
        return "`proof` with a photo or signature, where the tier asks for it (`pickup_proof` of the area's prices)"
    return _NEEDED[NEEDS[to]] if to in NEEDS else ""
