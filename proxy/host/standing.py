"""What must stand of our rules and routes, and what of it does not."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.schema import Config
from proxy.host import net, routing
from proxy.host.commands import turn
from proxy.host.rules import Backend


class Standing:
    """Looks at the rules and routes that there are. It remembers the text of rules by their comment: the same comment
    must mean the same rules."""

    def __init__(self, config: Config, backend: Backend | None, sees_rules: bool) -> None:
        """`backend` is the one whose rules must stand. None: either will do. `sees_rules`: without it only routing is
        looked at."""
        self._config = config
        self.wanted = backend
        self._backend = backend
        """The backend whose rules stood at the last look."""
        self._sees_rules = sees_rules
        self._known: dict[str, str] = {}

    def missing(self) -> list[str]:
        """What is not as it should be, in words. Raises NetError when it cannot be told."""
        found = []
        with turn():
            if self._sees_rules:
                if self.wanted is None:
                    self._backend = self._now_there()
                found += [f"{what}: {how}" for what, how in self._firewall()]
            routes = routing.look()
            for part in (*routing.status(self._config, routes), *routing.overtaking(self._config, routes)):
                if not part.present:
                    found.append(f"{part.what}: {part.detail}")
        return found

    @property
    def backend(self) -> Backend:
        """The backend whose rules stood when they were last looked at."""
        return self._backend or net.chosen(self._config)

    def _now_there(self) -> Backend:
        """The backend whose rules stand now. Rules may be set up after the daemon has begun, and by the other backend
        later on."""
        stand = net.all_standing()
        if self._backend in stand:
            return self._backend
        return stand[0] if stand else self.backend

    @property
    def needs_looking(self) -> bool:
        """Whether no news of changes come, so that one has to look now and then."""
        return self._sees_rules and self._backend is Backend.IPTABLES and net.is_legacy()

    def _firewall(self) -> Iterator[tuple[str, str]]:
        """Each of our rules that is missing or changed, and which of the two."""
        for what, comment, text in net.standing_rules(self._backend or Backend.NFT):
            if text is None:
                yield what, "missing"
            elif not comment or self._known.setdefault(f"{what} {comment}", text) != text:
                yield what, "changed"
