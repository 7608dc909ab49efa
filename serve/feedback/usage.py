"""Count the bytes of stored feedback: of all records, and of each group of callers.

A caller (an address, a key) counts as one of 4,096 groups, the first 12 bits of its digest. No record has its
group; the receipt has it, so that a deletion gives the bytes back. Decision: docs/decisions/0037-feedback.md.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import date
from typing import Annotated

from pydantic import Field, ValidationError

from serve.schemas import Body

BLOCK_BYTES = 4096
"""A smaller record counts as much, so that their number is bounded too."""
_GROUP = re.compile("[0-9a-f]{3}")


class Usage(Body):
    """The bytes of all records on the day of the last count; immutable."""

    num_bytes: int = Field(ge=0)
    counted_on: date
    bytes_by_group: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)

    def of_group(self, group: str) -> int:
        """Return the bytes of a group of callers."""
        return self.bytes_by_group.get(group, 0)

    def with_record(self, num_bytes: int, group: str) -> "Usage":
        """Return the usage with one more record."""
        cost = cost_of(num_bytes)
        groups = {**self.bytes_by_group, group: self.of_group(group) + cost}
        return self.model_copy(update={"num_bytes": self.num_bytes + cost, "bytes_by_group": groups})

    def without_record(self, num_bytes: int, group: str | None) -> "Usage":
        """Return the usage with one record less; group None: it was counted in no group."""
        cost = cost_of(num_bytes)
        groups = dict(self.bytes_by_group)
        if group is not None and groups.pop(group, 0) > cost:
            groups[group] = self.of_group(group) - cost
        return self.model_copy(update={"num_bytes": max(0, self.num_bytes - cost), "bytes_by_group": groups})


def recounted(usage: Usage | None, sizes: Iterable[int], day: date) -> Usage:
    """Return the usage of a day by the sizes of all records.

    If fewer bytes are there than the groups have, for records were removed by hand, the counts of all groups
    shrink in proportion: no record tells whose it was.
    """
    total = sum(map(cost_of, sizes))
    groups = {} if usage is None else usage.bytes_by_group
    counted = sum(groups.values())
    if counted > total:
        groups = {group: shrunk for group, size in groups.items() if (shrunk := size * total // counted)}
    return Usage(num_bytes=total, counted_on=day, bytes_by_group=groups)


def parse_usage(content: bytes | None) -> Usage | None:
    """Return None for a missing or damaged file; the size is then recounted."""
    try:
        return None if content is None else Usage.model_validate_json(content)
    except ValidationError:
        return None


def cost_of(num_bytes: int) -> int:
    """Return the bytes that a record counts."""
    return max(num_bytes, BLOCK_BYTES)


def group_of(caller: str) -> str:
    """Return the group of a caller; a million addresses of IPv4 have the same."""
    return hashlib.sha256(caller.encode()).hexdigest()[:3]


def group_in(ending: str) -> str | None:
    """Return the group that a receipt ends in; None: it has none."""
    return ending if _GROUP.fullmatch(ending) else None
