"""Tells the tenant what is wrong with an object: a Warning Event and the status annotation (ruling 13).

The annotation is the memory: an Event is sent for a problem that the annotation does not hold yet, before the
annotation is written, so a restart repeats at most one that was not remembered. Its name is made from the problem,
so even then there is one Event and not two. An Event that cannot be written is only logged.
"""

from __future__ import annotations

from collections.abc import Sequence

from kubelb_ccm.export.problems import Problem, shortened, status_annotation, told_problems
from kubelb_common import names
from kubelb_common.kube.errors import AlreadyExists, KubeError
from kubelb_common.kube.port import KubeClient, Object, Resource
from kubelb_common.kube.resources import EVENTS
from kubelb_common.objects import events, view
from kubelb_common.runtime.clock import Clock, SystemClock
from kubelb_common.telemetry import logs

_log = logs.get(__name__)
_COMPONENT = "kubelb-ccm"


class Reporter:
    """Writes Events and status annotations in the tenant cluster."""

    def __init__(self, client: KubeClient, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()

    async def report(
        self, resource: Resource, obj: Object, subject: str, exported: str, problems: Sequence[Problem]
    ) -> Object | None:
        """Make the object's annotation tell these problems; returns the patched object, None if nothing changed.

        Args:
            resource: the kind of `obj`.
            obj: the tenant's object.
            subject: `route`, `loadBalancer` or `syncSecret`, with `exported` its name: where to look in the management
                cluster.
            exported: see `subject`.
            problems: all that is wrong now; empty removes the annotation.
        """
        told = view.annotations(obj).get(names.ANNOTATION_STATUS)
        text = status_annotation(subject, exported, problems)
        if text == told:
            return None
        known = told_problems(told)
        for problem in shortened(problems):
            if problem not in known:
                await self._event(obj, problem)
        patch: Object = {"metadata": {"annotations": {names.ANNOTATION_STATUS: text}}}
        return await self._client.patch(resource, view.name(obj), patch, view.namespace(obj))

    async def _event(self, obj: Object, problem: Problem) -> None:
        event = events.warning(
            obj,
            problem.reason or problem.type,
            problem.message,
            key=names.digest(view.uid(obj), problem.reason, problem.message),
            component=_COMPONENT,
            now=view.format_time(self._clock.now()),
        )
        namespace = view.namespace(event)
        try:
            await self._client.create(EVENTS, event, namespace)
        except AlreadyExists:
            return
        except KubeError as error:
            _log.warning("event not written", object=f"{namespace}/{view.name(obj)}", error=str(error))
