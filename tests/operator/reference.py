"""Finite volumes written as loops over faces, in NumPy: the reference that shares no code with the package."""

import itertools as it

import numpy as np


def dense_diffusion(edges, areas, volumes, kappa, walls):
    """`div(kappa grad u)` on a product of axes.

    `edges`, `areas`, `volumes`: per axis. `kappa`: per axis, arrays of the grid's shape. `walls`: per axis a pair of
    "neumann", "dirichlet", "periodic" or Robin's (alpha, beta).
    """
    shape = tuple(len(e) - 1 for e in edges)
    size = int(np.prod(shape))
    matrix = np.zeros((size, size))
    number = np.arange(size).reshape(shape)
    for axis, index in it.product(range(len(shape)), np.ndindex(*shape)):
        widths, j = np.diff(edges[axis]), index[axis]
        cell = number[index]
        for side in (0, 1):
            area = areas[axis][j + side]
            at_wall = j == (0, shape[axis] - 1)[side]
            if at_wall and walls[axis][side] != "periodic":
                matrix[cell, cell] -= _wall(walls[axis][side], kappa[axis][index], widths[j]) * area / volumes[axis][j]
                continue
            other = (j + (-1, 1)[side]) % shape[axis]
            neighbour = (*index[:axis], other, *index[axis + 1 :])
            resistance = widths[j] / (2 * kappa[axis][index]) + widths[other] / (2 * kappa[axis][neighbour])
            matrix[cell, cell] -= area / resistance / volumes[axis][j]
            matrix[cell, number[neighbour]] += area / resistance / volumes[axis][j]
    return matrix


def _wall(wall, kappa, width):
    conductance = 2 * kappa / width
    if wall == "neumann":
        return 0.0
    if wall == "dirichlet":
        return conductance
    alpha, beta = wall
    return conductance * alpha / (alpha + beta * conductance)
