"""From a table of cases to a notebook that audits them: what a page of JupyterLab asks a kernel.

The browser sends questions as JSON, see `answer`. A question about a table is answered by reading it in the kernel's
current folder; nothing of it goes anywhere but into the page that asked.
"""

from mmaudit.lab._answer import MIME, answer, reply

__all__ = ["MIME", "answer", "reply"]
