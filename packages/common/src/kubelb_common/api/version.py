"""Version: what runs, as Config and TenantState report it."""

from __future__ import annotations

from kubelb_common.api.record import Record, field, record


@record
class Version(Record):
    """A build of the manager."""

    git_version: str = field("Released version.", default="")
    git_commit: str = field("Commit it was built from.", default="")
    build_date: str = field("When it was built.", default="")
    edition: str = field("Edition; CE.", default="")
