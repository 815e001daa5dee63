"""A silent driver was heard again: back into supply."""

from msgspec.structs import replace

from dispatch.commands import Refusal, Revive
from dispatch.decision import NOTHING, Decision, State


def decide(state: State, command: Revive) -> Decision:
    driver = state.driver(command.user)
    if driver is None or not driver.online:
        raise Refusal("wrong_state", "You are offline: go online first.")
    if driver.device != command.device:
        raise Refusal("superseded")
    if not driver.stale:
        return NOTHING
    return Decision(put=(replace(driver, stale=False, changed_ms=state.now_ms),))
