"""The slicers keep scikit-learn's contract for estimators, without an exception."""

import warnings

from sklearn.utils.estimator_checks import parametrize_with_checks

from mmaudit._errors import AuditWarning
from mmaudit.slicers import MixtureSlicer, RiskSlicer, RuleSlicer


# Three components: the smallest tables of the checks have ten rows.
@parametrize_with_checks(
    [
        MixtureSlicer(n_components=3, max_iter=20, random_state=0),
        RiskSlicer(random_state=0),
        RiskSlicer("local", random_state=0),
        RuleSlicer(max_predicates=1),
    ]
)
def test_scikit_learn_contract(estimator, check):
    with warnings.catch_warnings():
        # The checks know no `y_proba`: rules and regions of risk say that without it there is nothing to search.
        warnings.simplefilter("ignore", AuditWarning)
        check(estimator)
