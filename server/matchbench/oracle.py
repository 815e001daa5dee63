"""The best plans that a general solver finds in a given time: OR-tools' routing, for the insertion to be held against.

It is told what the couriers' dispatcher knows at that moment and nothing else: who is where and when he is free, what
is on board and so bound to its courier, what waits and may go to anybody, when it is ready, by when it was promised,
how much fits. Costs are the same, in tenths of a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from ortools.constraint_solver import pywrapcp
from ortools.constraint_solver.routing_enums_pb2 import FirstSolutionStrategy, LocalSearchMetaheuristic

from dispatch.insertion import Plan, Stops

_TENTHS: Final = 10
_LONGEST: Final = 40_000 * _TENTHS  # no plan lasts longer


def best_plans(
    plans: Sequence[Plan], places: Stops, late_weight: float, limit_s: float, *, from_these: bool
) -> list[Plan] | None:
    """The couriers' plans after `limit_s` of guided local search, which begins with the given plans or with the
    solver's own; None when it found none."""
    model = _Model(plans, places, late_weight)
    parameters = pywrapcp.DefaultRoutingSearchParameters()
    parameters.first_solution_strategy = FirstSolutionStrategy.PARALLEL_CHEAPEST_INSERTION
    parameters.local_search_metaheuristic = LocalSearchMetaheuristic.GUIDED_LOCAL_SEARCH
    parameters.time_limit.FromMilliseconds(int(limit_s * 1_000))
    return model.solve(parameters, from_these=from_these)


class _Model:
    """Nodes: the couriers' places, one end for all, then every stop of every plan."""

    def __init__(self, plans: Sequence[Plan], places: Stops, late_weight: float) -> None:
        self._plans, self._places = plans, places
        nowhere = len(places.ready_s) - 1
        rows = [*(plan.start for plan in plans), nowhere, *(stop for plan in plans for stop in plan.stops)]
        self._rows, end = rows, len(plans)
        self._manager: Any = pywrapcp.RoutingIndexManager(len(rows), end, list(range(end)), [end] * end)
        self._model: Any = pywrapcp.RoutingModel(self._manager)
        self._index = {row: self._manager.NodeToIndex(end + 1 + at) for at, row in enumerate(rows[end + 1 :])}
        legs = np.rint(places.legs_s[np.ix_(rows, rows)] * _TENTHS).astype(int)
        legs[end] = legs[:, end] = 0
        transit = self._model.RegisterTransitMatrix(legs.tolist())
        self._model.SetArcCostEvaluatorOfAllVehicles(transit)
        self._model.AddDimension(transit, _LONGEST, _LONGEST, False, "time")
        units = self._model.RegisterUnaryTransitVector(
            [*([0] * (end + 1)), *places.units[rows[end + 1 :]].tolist()]
        )
        room = [plan.capacity for plan in plans]
        self._model.AddDimensionWithVehicleCapacity(units, 0, room, False, "load")
        self._begin(late_weight)

    def _begin(self, late_weight: float) -> None:
        model, places = self._model, self._places
        time, load = (model.GetDimensionOrDie(name) for name in ("time", "load"))
        zero_s = min(plan.free_s for plan in self._plans)

        def tenths(at_s: float) -> int:
            return max(0, round((at_s - zero_s) * _TENTHS))

        for courier, plan in enumerate(self._plans):
            time.CumulVar(model.Start(courier)).SetValue(tenths(plan.free_s))
            load.CumulVar(model.Start(courier)).SetValue(plan.load)
            model.AddVariableMinimizedByFinalizer(time.CumulVar(model.End(courier)))
            for stop in plan.stops:
                index = self._index[stop]
                model.AddVariableMinimizedByFinalizer(time.CumulVar(index))
                if np.isfinite(places.ready_s[stop]):
                    time.CumulVar(index).SetMin(tenths(float(places.ready_s[stop])))
                if np.isfinite(places.due_s[stop]):
                    weight = round(late_weight)
                    time.SetCumulVarSoftUpperBound(index, tenths(float(places.due_s[stop])), weight)
                if places.units[stop] < 0:
                    self._pair(int(places.other[stop]), index, courier, time)

    def _pair(self, pickup: int, dropoff_index: int, courier: int, time: Any) -> None:
        """After its pickup with the same courier, whoever; or on board, and bound."""
        model, solver = self._model, self._model.solver()
        index = self._index.get(pickup)
        if index is None:
            solver.Add(model.VehicleVar(dropoff_index) == courier)
            return
        model.AddPickupAndDelivery(index, dropoff_index)
        solver.Add(model.VehicleVar(index) == model.VehicleVar(dropoff_index))
        solver.Add(time.CumulVar(index) <= time.CumulVar(dropoff_index))

    def solve(self, parameters: Any, *, from_these: bool) -> list[Plan] | None:
        model = self._model
        if from_these:
            model.CloseModelWithParameters(parameters)
            routes = [[self._index[stop] for stop in plan.stops] for plan in self._plans]
            found = model.SolveFromAssignmentWithParameters(
                model.ReadAssignmentFromRoutes(routes, True), parameters
            )
        else:
            found = model.SolveWithParameters(parameters)
        return None if found is None else [self._read(found, courier) for courier in range(len(self._plans))]

    def _read(self, found: Any, courier: int) -> Plan:
        stops, index = list[int](), found.Value(self._model.NextVar(self._model.Start(courier)))
        while not self._model.IsEnd(index):
            stops.append(self._rows[self._manager.IndexToNode(index)])
            index = found.Value(self._model.NextVar(index))
        return self._plans[courier]._replace(stops=tuple(stops))
