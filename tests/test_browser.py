"""The tests' browser: whatever a page must not do is seen, whatever else a test forgives."""

from __future__ import annotations

import json

import pytest

from tests.browser import Chromium
from tests.stack import RunningStack
from tests.support import wait_until
from tests.test_demo_pages import chromium, city

__all__ = ["chromium", "city"]


async def test_whatever_a_page_must_not_do_is_seen(city: RunningStack, chromium: Chromium) -> None:
    window = await chromium.window(city.url, "/demo")
    await window.frame.evaluate("document.body.setAttribute('style', 'color: red')")
    # the browser's own line about it may come before the event, which a reload would cut off
    await wait_until(lambda: any(fault.startswith("policy: ") for fault in window.faults))
    await window.page.reload()  # which forgives nothing
    with pytest.raises(AssertionError, match="policy: style-src"):
        await window.assert_clean()
    window = await chromium.window(city.url, "/demo", bypass_csp=True)
    window.server_may_be_away = True
    await window.frame.evaluate("new WebSocket('ws://localhost:9/')")
    await wait_until(lambda: window.faults)
    with pytest.raises(AssertionError, match="asked outside: ws://localhost:9/"):
        await window.assert_clean()
    window = await chromium.window(city.url, "/demo")
    window.server_may_be_away = True
    said = "WebSocket connection to 'ws://here/' failed: Invalid frame header"
    await window.frame.evaluate(f"console.error({json.dumps(said)})")
    with pytest.raises(AssertionError, match="Invalid frame header"):
        await window.assert_clean()
