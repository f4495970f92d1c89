"""The notebooks as a workshop: copies for learners and teachers, and checks that tell whether an answer is right.

Each notebook is written once, with its solutions and the teacher's notes; the tags of its cells say who sees what.
"""

from mmaudit.workshop._check import Checked, check, exercises
from mmaudit.workshop._lab import prepare_lab, write_workspace
from mmaudit.workshop._site import write_site
from mmaudit.workshop._suite import AUDIENCES, FIRST, contents, for_audience, write_notebooks

__all__ = [
    "AUDIENCES",
    "FIRST",
    "Checked",
    "check",
    "contents",
    "exercises",
    "for_audience",
    "prepare_lab",
    "write_notebooks",
    "write_site",
    "write_workspace",
]
