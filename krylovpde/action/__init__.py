"""`f(tA) v`: one method per file, and the march through time that uses them."""

from ._arnoldi import Arnoldi as Arnoldi
from ._base import AbstractKrylov as AbstractKrylov, AbstractMethod as AbstractMethod
from ._batch import batch_any as batch_any, batch_max as batch_max
from ._chebyshev import (
    Chebyshev as Chebyshev,
    has_known_imaginary_interval as has_known_imaginary_interval,
    has_known_spectrum as has_known_spectrum,
)
from ._checkpoints import (
    Layout as Layout,
    Pair as Pair,
    Ring as Ring,
    fill as fill,
    fill_with_gaps as fill_with_gaps,
    read_pair as read_pair,
)
from ._conjugate_gradient import Solved as Solved
from ._dense import Dense as Dense
from ._driven import (
    Driven as Driven,
    driven_of as driven_of,
    fields_of as fields_of,
    profile_of as profile_of,
)
from ._error_control import build as build
from ._expansion import Expansion as Expansion, pull_signal as pull_signal
from ._faber import Faber as Faber, has_known_range as has_known_range
from ._faber_recurrence import (
    FaberRun as FaberRun,
    FaberSequence as FaberSequence,
    range_of as range_of,
    run_faber as run_faber,
)
from ._faber_series import pull_signal_on_ellipse as pull_signal_on_ellipse
from ._grow import record_slots as record_slots
from ._inverse_laplace import Contour as Contour, contour_states as contour_states, has_contour as has_contour
from ._keep import BLOCK as BLOCK, along as along, in_blocks as in_blocks, product as product
from ._lanczos import Lanczos as Lanczos
from ._march import (
    Counters as Counters,
    March as March,
    march as march,
    select as select,
    shift_chain as shift_chain,
)
from ._one_by_one import one_by_one as one_by_one
from ._problem import Observation as Observation, Problem as Problem, Settings as Settings
from ._record import Record as Record, Step as Step
from ._recurrence import (
    Ends as Ends,
    Polynomials as Polynomials,
    components_of as components_of,
    run_recurrences as run_recurrences,
)
from ._reduction import Reduction as Reduction, lift as lift
from ._resolvent import (
    Solver as Solver,
    Task as Task,
    knows_diagonal as knows_diagonal,
    resolvent as resolvent,
    transposed_resolvent as transposed_resolvent,
)
from ._schedule import Schedule as Schedule
from ._shift import shift_and_task as shift_and_task
from ._shift_invert import ShiftInvert as ShiftInvert
from ._shift_invert_arnoldi import ShiftInvertArnoldi as ShiftInvertArnoldi
from ._spectrum import Spectrum as Spectrum, like_of as like_of
from ._step_outputs import component_from_tables as component_from_tables
