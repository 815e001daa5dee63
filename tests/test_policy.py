"""Rules as numbers: what is refused, and what a replay scales."""

import msgspec
import pytest

from dispatch.policy import Policy, scaled

KEPT_BY_A_REPLAY = {"unseen_s", "offer_grace_s", "stale_fix_s", "quote_s"}


def test_the_defaults_are_within_their_own_ranges() -> None:
    assert msgspec.convert(msgspec.to_builtins(Policy()), Policy) == Policy()
    assert msgspec.json.decode(b"{}", type=Policy) == Policy()


@pytest.mark.parametrize(
    "stored",
    [
        '{"offer_s": 0}',
        '{"offer_s": -15}',
        '{"offer_s": 15000000}',
        '{"offer_s": "15"}',
        '{"offer_s": null}',
        '{"offers_s": 15}',
        '{"job_ttl_s": 900}',
        '{"candidates": 0}',
        '{"candidates": 2.5}',
        '{"search_radius_m": 12001}',
        '{"top_speed_mps": 0}',
        '{"detour": 0.9}',
        '{"max_offers": 0}',
        '{"otp_required": 1}',
    ],
)
def test_a_rule_out_of_range_or_unknown_is_refused(stored: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(stored, type=Policy)


@pytest.mark.parametrize("n", [0.5, 1.0, 15.0, 60.0])
def test_a_scaled_city_runs_n_times_as_fast(n: float) -> None:
    base, fast = Policy(), scaled(Policy(), n)
    for name in Policy.__struct_fields__:
        before, after = getattr(base, name), getattr(fast, name)
        is_time = name.endswith(("_s", "_mps")) or name == "history_weight"  # seconds for a score
        if name in KEPT_BY_A_REPLAY or not is_time:
            assert after == before, name
        else:
            assert after == pytest.approx(before * n if name.endswith("_mps") else before / n), name
    assert msgspec.convert(msgspec.to_builtins(fast), Policy) == fast  # it can be stored as an area's policy
