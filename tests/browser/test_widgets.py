"""Widgets in a page, with their Python half in this process."""

import mmaudit as mma


def test_a_widget_is_shown(mount, small_audit):
    mounted = mount(lambda: mma.widgets.SliceExplorer(small_audit))
    mounted.view.get_by_text(f"{len(small_audit.samples)} cases").wait_for()
