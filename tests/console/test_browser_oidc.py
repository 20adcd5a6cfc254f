"""Sign-in by an OpenID provider that is a process of its own and another site, in a browser."""

import sys

import pytest

from alerting.book.roles import Role
from console.settings import OidcSettings, Settings
from tests.console.browser import Somebody, chromium
from tests.console.live import LiveSite
from tests.console.provider import CLIENT, SECRET
from tests.servers import ROOT, Server, free_port

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def provider(tmp_path):
    port = free_port()
    served = Server(
        [sys.executable, "-m", "tests.console.provider", str(port)], tmp_path, "provider", port
    )
    served.environment["PYTHONPATH"] = str(ROOT)
    with served:
        yield served


async def at_provider(somebody: Somebody, name: str, group: str) -> None:
    """Be somebody at the provider."""
    await somebody.page.click("text=organisatie")
    await somebody.page.fill("[name=name]", name)
    await somebody.page.fill("[name=group]", group)
    await somebody.page.click("button")


async def test_somebody_signs_in_by_a_provider_of_another_site(provider, tmp_path):
    # Another site for the browser: our cookie, which is strict, is not sent on the way back.
    oidc = OidcSettings(
        issuer=f"http://localhost:{provider.port}", client_id=CLIENT, client_secret=SECRET,
        roles={"em-room": Role.OPERATOR, "em-leads": Role.SHIFT_LEAD},
    )  # fmt: skip
    live = LiveSite(tmp_path, settings=Settings(oidc=oidc, local_accounts=False))
    async with live.serving(), chromium() as browser:
        jan = await Somebody.at(live, browser)
        await jan.page.goto(live.url)
        await at_provider(jan, "jan", "em-room")
        await jan.page.wait_for_selector(".bar")
        await jan.sees("Er is niets open")
        assert live.gate.on_duty(live.link.now_ms()) == ["jan"]
        # The lock is opened by the provider too, and by nobody else.
        await jan.page.keyboard.press("l")
        await jan.sees("Scherm op slot")
        assert await jan.page.locator("[name=password]").count() == 0
        await at_provider(jan, "jan", "em-leads")
        await jan.page.wait_for_selector(".bar")
        await jan.page.click("text=jan")
        await jan.page.wait_for_selector("text=organisatie")
        # Who is in no group of ours stays outside.
        other = await Somebody.at(live, browser)
        await other.page.goto(live.url)
        await at_provider(other, "eva", "visitors")
        await other.sees("this account has no role here")
        await other.page.goto(live.url)
        await other.page.wait_for_selector("text=organisatie")
        assert jan.faults + other.faults == []
    live.close()
