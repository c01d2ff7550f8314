"""Measured data: tables in files, with units, as observations from which experiments are made."""

from ._arrays import (
    Matrix as Matrix,
    from_xarray as from_xarray,
    read_netcdf as read_netcdf,
    read_npz as read_npz,
)
from ._column import Column as Column
from ._csv import read_csv as read_csv
from ._layout import AbstractLayout as AbstractLayout, Long as Long, Wide as Wide
from ._observations import Observations as Observations
