"""What axe-core finds on a page."""

from axe_playwright_python.sync_playwright import Axe

GRAVE = ("serious", "critical")


def grave_findings(page, *selectors):
    """Return rule, place and reason of each finding below the selectors that is serious or critical."""
    found = Axe().run(page, context={"include": [[one] for one in selectors]} if selectors else None).response
    assert found["testEngine"]["name"] == "axe-core"
    return [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in found["violations"]
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]
