"""A headless Chromium for the tests of the page, which tells what it logged and whom it asked."""

import json
import shutil
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.conftest import wait_until

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
DEADLINE_S = 20.0

needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not installed here"
)


class Browser:
    """Drives one Chromium with a profile of its own.

    Args:
        profile: an empty directory.
    """

    def __init__(self, profile):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self._driver = webdriver.Chrome(options, Service(CHROMEDRIVER))

    def open(self, url, *, width=1280, height=900, scheme="light"):
        """Show a page as a screen of this size and colour scheme would."""
        self.take_complaints()
        self.take_asked()
        self.resize(width, height)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self._driver.get(url)

    def resize(self, width, height):
        """Have a screen of another size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script, *arguments):
        """Return what a script in the page returns."""
        return self._driver.execute_script(script, *arguments)

    def text(self, selector):
        """Return the text of the first such element, "" where there is none."""
        its = "const its = document.querySelector(arguments[0]);"
        return self.run(f"{its} return its?.innerText ?? its?.textContent ?? ''", selector)

    def click(self, selector):
        """Click the first such element."""
        self._driver.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector, text):
        """Type into the first such element what it is to hold."""
        field = self._driver.find_element(By.CSS_SELECTOR, selector)
        field.clear()
        field.send_keys(text)

    def wait_text(self, selector, words):
        """Wait until the first such element shows these words."""
        what = f"{words!r} in {selector}"
        wait_until(lambda: words in self.text(selector), DEADLINE_S, what)

    def take_complaints(self):
        """Return what the console has had since the last time, warnings and worse."""
        return [entry["message"] for entry in self._driver.get_log("browser") if entry["level"] != "INFO"]

    def take_asked(self):
        """Return the host and port of each request since the last time."""
        events = (json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance"))
        urls = (e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent")
        return {urlsplit(url).netloc for url in urls if not url.startswith(("data:", "chrome:"))}

    def close(self):
        """End it, and all its processes."""
        self._driver.quit()
