"""A phantom cohort: chest radiographs, reports and metadata that the package makes itself, with known causes.

No patient is behind it, so it can be shown to anybody, and since all that is in an image is known, what an audit finds
and says can be checked.

    _load       load_phantom, write_phantom          _files     the plain layout and that of MIMIC-CXR-JPG
    _record     what there is to be drawn and told   _cohort    who the patients are, and their course over time
    _geometry   rays through solids and tubes        _chest     the measures of a body, and where its parts lie
    _tissue     sums along rays                      _anatomy   the body        _findings  what is wrong with it
    _devices    what is in and on it                 _film      from the body to grey values
    _scanners   the look of each machine             _markers   letters on the film
    _images     the films as an image source         _report    what the radiologist writes, in the words of _phrases
"""

from mmaudit.datasets.phantom._images import PhantomImages
from mmaudit.datasets.phantom._load import load_phantom, write_phantom
from mmaudit.datasets.phantom._record import DEVICES, FINDINGS

__all__ = ["DEVICES", "FINDINGS", "PhantomImages", "load_phantom", "write_phantom"]
