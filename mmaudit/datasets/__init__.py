"""Data sets to audit: one the package makes itself, and loaders for public chest X-ray collections.

No loader uses the network. Each states in `data.card` where the data are from, their licence and known limits, and
warns of known problems.
"""

from mmaudit.data import AuditData
from mmaudit.datasets._covid import load_covid_chestxray
from mmaudit.datasets._mimic import load_mimic_cxr
from mmaudit.datasets._openi import load_openi
from mmaudit.datasets._xrv import from_torchxrayvision
from mmaudit.datasets.phantom import load_phantom, write_phantom

__all__ = [
    "from_frame",
    "from_torchxrayvision",
    "load_covid_chestxray",
    "load_mimic_cxr",
    "load_openi",
    "load_phantom",
    "write_phantom",
]

from_frame = AuditData.from_frame
