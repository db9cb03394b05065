"""Tenant objects in, exports out.

A case holds one Ingress, one Service of type LoadBalancer (the first), or Nodes; with an Ingress its Services and
their twins; first of all perhaps a document `options:`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelb_ccm.export.addresses import addresses, addresses_of
from kubelb_ccm.export.loadbalancer import load_balancer
from kubelb_ccm.export.meta import Destination
from kubelb_ccm.export.route import route
from kubelb_ccm.export.services import exported_service
from kubelb_ccm.export.twins import is_twin, needs_twin, new_twin, updated_twin
from kubelb_common import names
from kubelb_common.testing import golden

FOLDER = Path(__file__).parents[1] / "testdata" / "export"
HERE = Destination("tenant-a", "cluster-uid")


@pytest.mark.parametrize("case", golden.cases(FOLDER), ids=str)
def test_export(case, update_golden):
    documents = case.documents()
    options = documents.pop(0)["options"] if "options" in documents[0] else {}
    case.check({"out": export(documents, options)}, update=update_golden)


def test_no_orphans(update_golden):
    golden.check_orphans(FOLDER, update=update_golden)


def export(documents, options):
    kind = documents[0]["kind"]
    if kind == "Node":
        return addresses(addresses_of(documents, options.get("type", "InternalIP")), HERE)
    services = [found for found in documents if found["kind"] == "Service"]
    twins = {found["metadata"]["labels"][names.LABEL_ORIGIN_NAME]: found for found in services if is_twin(found)}
    originals = [found for found in services if not is_twin(found)]
    if kind == "Ingress":
        exported = [exported_service(found, twins.get(found["metadata"]["name"])) for found in originals]
        return route(documents[0], exported, HERE)
    if options.get("twin"):
        service = originals[0]
        live = twins.get(service["metadata"]["name"])
        return {
            "needed": needs_twin(service),
            "twin": updated_twin(live, service) if live else new_twin(service, {}),
        }
    return load_balancer(originals[0], HERE, cloud_provider=options.get("cloudProvider", True))
