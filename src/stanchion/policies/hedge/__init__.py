"""A second attempt beside one that is late, on another key."""

from stanchion.policies.hedge.hedge import Another, Hedge, Hold, Spawn
from stanchion.policies.hedge.options import HedgeOptions
from stanchion.policies.hedge.race import Learned

__all__ = ["Another", "Hedge", "HedgeOptions", "Hold", "Learned", "Spawn"]
