"""Domino's mixture in plain numpy, for tests and benches to compare with: whole arrays, float64, nothing clever.

Written from arXiv:2203.14960, section 5.2, and from what its package was seen to compute: log E_q[P] for soft
predictions, in the M-step the mean of q, 2.2e-16 within each logarithm and 2.2e-15 samples in each component.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp
from sklearn.cluster import KMeans

TINY = np.finfo(float).eps


def one_hot(labels, n_classes):
    return np.eye(n_classes)[labels]


def two_columns(proba):
    return np.stack([1 - proba, proba], axis=1)


def maximise(X, Y, Q, R, reg_covar=1e-6):
    """Return shares, means, variances, label and prediction probabilities for responsibilities R, one row a sample."""
    size = R.sum(axis=0) + 10 * TINY
    means = R.T @ X / size[:, None]
    variances = R.T @ X**2 / size[:, None] - means**2 + reg_covar
    return size / len(X), means, variances, R.T @ Y / size[:, None], R.T @ Q / size[:, None]


def joint_log_likelihood(X, Y, Q, parameters, label_weight, proba_weight):
    shares, means, variances, p, r = parameters
    gauss = -0.5 * (
        X.shape[1] * np.log(2 * np.pi)
        + np.log(variances).sum(axis=1)
        + X**2 @ (1 / variances).T
        - 2 * X @ (means / variances).T
        + (means**2 / variances).sum(axis=1)
    )
    return np.log(shares) + gauss + label_weight * np.log(Y @ p.T + TINY) + proba_weight * np.log(Q @ r.T + TINY)


def expect(X, Y, Q, parameters, label_weight, proba_weight):
    """Return the mean log likelihood and the responsibilities."""
    joint = joint_log_likelihood(X, Y, Q, parameters, label_weight, proba_weight)
    total = logsumexp(joint, axis=1)
    return total.mean(), np.exp(joint - total[:, None])


def confusion_start(Y, Q, n_components, rng, noise=1e-3):
    """Return the start of the paper: component j is cell j of the confusion matrix, in turn, with noise."""
    n_cells = Y.shape[1] * Q.shape[1]
    cell = np.einsum("ia,ib->iab", Y, Q).reshape(len(Y), n_cells)
    R = np.stack([cell[:, j % n_cells] for j in range(n_components)], axis=1)
    R /= R.sum(axis=1, keepdims=True)
    R += noise * rng.random_sample(R.shape)
    return R / R.sum(axis=1, keepdims=True)


def fit(X, Y, Q, n_components, *, label_weight=1.0, proba_weight=1.0, tol=1e-3, max_iter=100, seed=0, R=None):
    """Return (parameters, bounds) from k-means, or from the responsibilities R."""
    if R is None:
        labels = KMeans(n_components, n_init=1, random_state=np.random.RandomState(seed)).fit(X).labels_
        R = one_hot(labels, n_components)
    parameters, bounds = maximise(X, Y, Q, R), []
    for _ in range(max_iter):
        bound, R = expect(X, Y, Q, parameters, label_weight, proba_weight)
        bounds.append(bound)
        parameters = maximise(X, Y, Q, R)
        if len(bounds) > 1 and abs(bounds[-1] - bounds[-2]) < tol:
            break
    return parameters, bounds
