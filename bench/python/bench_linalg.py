"""What NumPy takes for the factorisations of bench/linalg.mjs, one at a time, when asked.

Made with Python 3.11, numpy 2.4.6 (OpenBLAS 0.3.31).
`python bench_linalg.py` reads `name size` lines and answers each with the milliseconds of one run.
"""

import sys
import time

import numpy as np

RANK, OVERSAMPLING, POWER_ITERATIONS = 64, 10, 2


def randomized_svd(a):
    """Halko, Martinsson & Tropp 2011 with an orthogonalisation after every product."""
    start = np.random.default_rng(0).standard_normal((a.shape[1], RANK + OVERSAMPLING))
    q, _ = np.linalg.qr(a @ start)
    for _ in range(POWER_ITERATIONS):
        z, _ = np.linalg.qr(a.T @ q)
        q, _ = np.linalg.qr(a @ z)
    u, s, vt = np.linalg.svd(q.T @ a, full_matrices=False)
    return q @ u[:, :RANK], s[:RANK], vt[:RANK]


def eye_plus(a):
    return a @ a.T + np.eye(len(a))


CASES = {
    "symmetricEigen": (lambda a: a + a.T, np.linalg.eigh),
    "randomizedSvd": (lambda a: a, randomized_svd),
    "svd": (lambda a: a, lambda a: np.linalg.svd(a, full_matrices=False)),
    "qr": (lambda a: a, np.linalg.qr),
    "cholesky": (eye_plus, np.linalg.cholesky),
    "solve": (lambda a: a, lambda a: np.linalg.solve(a, a[:, :1])),
}

inputs = {}
for line in sys.stdin:
    name, size = line.split()
    prepare, run = CASES[name]
    if line not in inputs:
        inputs[line] = prepare(np.random.default_rng(1).standard_normal((int(size), int(size))))
    begin = time.perf_counter()
    run(inputs[line])
    print((time.perf_counter() - begin) * 1000, flush=True)
