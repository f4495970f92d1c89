"""Reports as words: sections, terms, and whether they are affirmed, negated or uncertain."""

from mmaudit.text._lexicon import canonical, category_of
from mmaudit.text._mentions import Mention, mentions
from mmaudit.text._sections import findings_and_impression, report_sections
from mmaudit.text._terms import CONCEPTS, label_terms, report_terms, restates_label

__all__ = [
    "CONCEPTS",
    "Mention",
    "canonical",
    "category_of",
    "findings_and_impression",
    "label_terms",
    "mentions",
    "report_sections",
    "report_terms",
    "restates_label",
]
