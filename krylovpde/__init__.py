"""Time-dependent PDEs by Krylov matrix exponentials, differentiable to the tolerance asked for."""

from . import functions as functions, inverse as inverse, verify as verify
from ._solution import RESULTS as RESULTS, Solution as Solution, Statistics as Statistics
from .action import (
    Arnoldi as Arnoldi,
    Chebyshev as Chebyshev,
    Contour as Contour,
    Dense as Dense,
    Faber as Faber,
    Lanczos as Lanczos,
    ShiftInvert as ShiftInvert,
)
from .adjoint import (
    CheckpointedAdjoint as CheckpointedAdjoint,
    DirectAdjoint as DirectAdjoint,
    IterationAdjoint as IterationAdjoint,
    ReversibleAdjoint as ReversibleAdjoint,
    TwoSidedAdjoint as TwoSidedAdjoint,
)
from .equation import (
    AbsorbedState as AbsorbedState,
    AbstractEquation as AbstractEquation,
    AdvectionDiffusion as AdvectionDiffusion,
    Assembled as Assembled,
    Diffusion as Diffusion,
    Linear as Linear,
    NonlinearDiffusion as NonlinearDiffusion,
    Piecewise as Piecewise,
    PointSource as PointSource,
    ReactionDiffusion as ReactionDiffusion,
    Sampled as Sampled,
    Schrodinger as Schrodinger,
    Semilinear as Semilinear,
    Source as Source,
    Wave as Wave,
    WaveState as WaveState,
)
from .grid import (
    Absorbing as Absorbing,
    Averages as Averages,
    Boundary as Boundary,
    Dirichlet as Dirichlet,
    Grid as Grid,
    LineIntegrals as LineIntegrals,
    Neumann as Neumann,
    Periodic as Periodic,
    RadialGrid as RadialGrid,
    Robin as Robin,
    Sensors as Sensors,
    TotalFlux as TotalFlux,
)
from .integrate import (
    ETDRK2 as ETDRK2,
    ETDRK4 as ETDRK4,
    Cotangents as Cotangents,
    Magnus4 as Magnus4,
    Rosenbrock as Rosenbrock,
    Strang as Strang,
    expm_multiply as expm_multiply,
    phi_multiply as phi_multiply,
    pullback as pullback,
    solve as solve,
    steady_state as steady_state,
)
from .krylov import (
    Hessenberg as Hessenberg,
    Tridiagonal as Tridiagonal,
    arnoldi as arnoldi,
    lanczos as lanczos,
)
from .operator import (
    AbstractOperator as AbstractOperator,
    BlockOperator as BlockOperator,
    Central as Central,
    Divergence as Divergence,
    Gradient as Gradient,
    Laplacian as Laplacian,
    PolynomialOperator as PolynomialOperator,
    SparseOperator as SparseOperator,
    Upwind as Upwind,
    annotate as annotate,
    is_self_adjoint as is_self_adjoint,
    is_skew_adjoint as is_skew_adjoint,
    self_adjoint_tag as self_adjoint_tag,
    skew_adjoint_tag as skew_adjoint_tag,
    spectral_bound as spectral_bound,
    weight as weight,
)
