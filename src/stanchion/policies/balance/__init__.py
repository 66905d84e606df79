"""Which endpoint takes a call, and the line of those who must wait for one."""

from stanchion.policies.balance.balancer import Balance, BalanceOptions, Endpoints
from stanchion.policies.balance.line import Room
from stanchion.policies.balance.line_options import LineOptions

__all__ = ["Balance", "BalanceOptions", "Endpoints", "LineOptions", "Room"]
